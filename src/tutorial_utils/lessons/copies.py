"""Copies of the lessons: one for a learner to write in, and one with every exercise filled in.

Both are made from the notebook that is committed, which ``notebooks`` makes from its source.
"""

import ast
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tutorial_utils.core import paths
from tutorial_utils.lessons import notebooks
from tutorial_utils.lessons.exercises import EXERCISES, solutions
from tutorial_utils.lessons.exercises.core import MINE, REFERENCE

ONLY_CI = "ci"  # tag of a cell whose output is only there to be compared
_GIVEN = "lesson"  # in a copy's metadata: the digest of the copy as it was handed out


@dataclass(frozen=True)
class Copy:
    """A learner's copy, and what was done with it in one sentence."""

    path: Path
    told: str
    news: bool = True  # whether there is something to tell

    def __str__(self) -> str:
        return f"{self.path.name}: {self.told}"


def hand_out(into: Path) -> list[Copy]:
    """Write a copy of each lesson that has none, or whose copy nobody has written in.

    Where somebody has, and the lesson is another one now, the newer copy is put beside it.
    """
    return [_hand_out(lesson, into / lesson.name) for lesson in notebooks.find()]


def reset(lesson: Path, into: Path) -> Copy:
    """Start a lesson anew. What a learner has written is kept under another name."""
    target = into / lesson.name
    if not target.exists():
        return _write(lesson, target, "written")
    kept = next(path for path in _names(target, "before reset") if not path.exists())
    target.rename(kept)
    return _write(lesson, target, f"started anew; what you had is in {kept.name}")


def for_learner(notebook: NotebookNode) -> NotebookNode:
    """Without outputs, and without the cells that are only there to be compared."""
    cells = []
    for cell in notebook.cells:
        if ONLY_CI in cell.metadata.get("tags", ()):
            continue
        if cell.cell_type == "code":
            cell = nbformat.v4.new_code_cell(cell.source, id=cell.id)
        cells.append(cell)
    made = nbformat.v4.new_notebook(cells=cells, metadata=dict(notebook.metadata))
    made.metadata[_GIVEN] = _digest(made)
    return made


def solved(lesson: Path) -> NotebookNode:
    """With the solution in place of each stub, and what ``check`` says of it as stored output.

    Other cells stay as they are, so whoever runs it can compare all outputs.
    """
    made = nbformat.read(lesson, as_version=4)
    for cell in made.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                output.text = output.text.replace(REFERENCE, MINE)
        if cell.cell_type != "code" or not (stubs := list(_stubs(cell.source))):
            continue
        lines = cell.source.splitlines()
        for stub in reversed(stubs):
            solution = solutions.source(f"{lesson.name[:2]}.{stub.name}")
            lines[stub.lineno - 1 : stub.end_lineno] = solution.splitlines()
        cell.source = "\n".join(lines)
        for output in cell.outputs:
            if text := output.get("data", {}).get("text/plain"):
                name = text.partition(": ")[0]
                output.data["text/plain"] = EXERCISES[name].passed
    return made


def _stubs(source: str) -> Iterator[ast.FunctionDef]:
    """Functions that return ``...``, as those do that a learner is to write."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and ast.unparse(node.body[-1]) == "return ...":
            yield node


def _hand_out(lesson: Path, target: Path) -> Copy:
    if not target.exists():
        return _write(lesson, target, "written")
    fresh, have = for_learner(nbformat.read(lesson, as_version=4)), _read(target)
    if have is None:
        return _beside(fresh, target, "cannot be read")
    given = have.metadata.get(_GIVEN)
    if given == fresh.metadata[_GIVEN]:
        return Copy(target, "as you left it", news=False)
    if given == _digest(have):
        return _write(lesson, target, "replaced by a newer lesson; you had written nothing in it")
    return _beside(fresh, target, "is of an older lesson, and yours")


def _beside(fresh: NotebookNode, target: Path, why: str) -> Copy:
    """Offer a newer lesson under another name, once."""
    for path in _names(target, "newer"):
        there = _read(path)
        if not path.exists():
            save(fresh, path)
        elif there is None or there.metadata.get(_GIVEN) != fresh.metadata[_GIVEN]:
            continue
        return Copy(target, f"{why}, so it stays; the newer lesson is {path.name}")
    raise AssertionError  # the names never end


def _read(path: Path) -> NotebookNode | None:
    """A notebook that a learner may have damaged; None if it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception:  # half a file, or none of a notebook: nbformat raises many kinds
        return None


def _names(target: Path, what: str) -> Iterator[Path]:
    """``01_export newer.ipynb``, ``01_export newer 2.ipynb``, …"""
    yield target.with_name(f"{target.stem} {what}{target.suffix}")
    for number in itertools.count(2):
        yield target.with_name(f"{target.stem} {what} {number}{target.suffix}")


def _write(lesson: Path, target: Path, told: str) -> Copy:
    save(for_learner(nbformat.read(lesson, as_version=4)), target)
    return Copy(target, told)


def save(notebook: NotebookNode, target: Path) -> None:
    """Write a notebook, so that no reader sees half of it."""
    with paths.replacing(target) as temporary:
        nbformat.write(notebook, temporary)


def _digest(notebook: NotebookNode) -> str:
    """Of what a lesson says and asks, not of what came out when it was run."""
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    return hashlib.sha256(repr(cells).encode()).hexdigest()[:16]
