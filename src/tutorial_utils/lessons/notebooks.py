"""Make the notebooks from their sources, and execute them from top to bottom in fresh kernels.

A source is a text file in ``notebooks/sources``, in Jupytext's Markdown. It has no outputs.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from tutorial_utils.core import paths
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons import figures, ledger

CELL_SECONDS = 240  # no cell may take longer; a whole notebook stays under five minutes
# Without it the kernel warns on stderr that what it is sent is not encrypted.
ENCRYPTED = Config(KernelManager={"transport_encryption": "auto"})
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def folder() -> Path:
    """Folder of the course's notebooks."""
    return paths.repository() / "notebooks"


def kept_ledger() -> Path:
    """The ledger that the stored notebooks show; README's table is made from it."""
    return folder() / "ledger.json"


def keep_ledger() -> None:
    """Store the ledger of the notebooks that were just executed, and its figure, beside them."""
    rows = ledger.rows_of()
    paths.write(kept_ledger(), ledger.as_json(rows) + "\n")
    with paths.replacing(kept_ledger().with_suffix(".png")) as temporary:
        figures.ledger(rows).savefig(temporary, dpi=90)


def find(names: Sequence[str] = ()) -> list[Path]:
    """The notebooks whose file names start with one of ``names``, in order; all by default.

    Raises:
        ValueError: a name matches none.
    """
    every = sorted(folder().glob("[0-9][0-9]_*.ipynb"))
    if missing := [n for n in names if not any(p.name.startswith(n) for p in every)]:
        names = [p.stem for p in every]
        raise InvalidArgument(f"No notebook starts with {missing}: there are {names}.")
    return [p for p in every if not names or any(p.name.startswith(n) for n in names)]


def source_of(lesson: Path) -> Path:
    """The text that a notebook is made from."""
    return folder() / "sources" / f"{lesson.stem}.md"


def read_source(source: Path) -> NotebookNode:
    """The notebook of a source, without outputs."""
    import jupytext  # only authors need it

    notebook = jupytext.read(source, fmt="md")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"  # it would be random, and differ after each execution
        cell.metadata = {k: v for k, v in cell.metadata.items() if k == "tags"}
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return notebook


def execute(notebook: NotebookNode, target: Path) -> None:
    """Run a notebook in a fresh kernel and write it with its outputs to ``target``.

    Timestamps, widget state and the kernel's patch version are left out: they would change with
    every run and tell a reader nothing.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised; ``target`` stays as it was.
    """
    metadata = [dict(cell.metadata) for cell in notebook.cells]
    client = NotebookClient(
        notebook,
        config=ENCRYPTED,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder())}},
    )
    with tempfile.TemporaryDirectory() as workbook:  # what its author has guessed does not count
        client.execute(env=os.environ | {"TUTORIAL_WORKBOOK": workbook})
    for cell, own in zip(notebook.cells, metadata, strict=True):
        cell.metadata = own
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nbformat.validate(notebook)
    with paths.replacing(target) as temporary:
        nbformat.write(notebook, temporary)
