"""Learners' copies lose nothing that was written in them; solved copies solve everything."""

from functools import partial
from pathlib import Path

import nbformat
import pytest

from tutorial_utils.lessons import copies, exercises, notebooks
from tutorial_utils.lessons.exercises import Status, check
from tutorial_utils.lessons.exercises.core import MINE, REFERENCE

LESSONS = notebooks.find()


def read(path: Path):
    return nbformat.read(path, as_version=4)


@pytest.fixture
def series(tmp_path, monkeypatch):
    """A series of one lesson, which ``publish`` replaces."""
    folder = tmp_path / "notebooks"
    monkeypatch.setattr(notebooks, "folder", lambda: folder)

    def publish(*sources: str):
        cells = [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
        cells[0].outputs = [nbformat.v4.new_output("stream", text="42")]
        folder.mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "01_a.ipynb")
        return folder / "01_a.ipynb"

    publish("first", "second")
    return publish


def write_in(path: Path, text: str) -> None:
    notebook = read(path)
    notebook.cells[1].source = text
    nbformat.write(notebook, path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_has_no_outputs_and_none_of_the_cells_that_are_there_for_ci(series, tmp_path):
    path = series("first", "second")
    notebook = read(path)
    notebook.cells[1].metadata["tags"] = [copies.ONLY_CI]
    nbformat.write(notebook, path)
    (copy,) = copies.hand_out(tmp_path / "mine")
    made = read(copy.path)
    assert [cell.source for cell in made.cells] == ["first"]
    assert made.cells[0].outputs == []


def test_a_second_start_changes_nothing(series, tmp_path):
    mine = tmp_path / "mine"
    (first,) = copies.hand_out(mine)
    write_in(first.path, "what I wrote")
    before = first.path.read_bytes()
    (second,) = copies.hand_out(mine)
    assert first.path.read_bytes() == before
    assert names(mine) == ["01_a.ipynb"]
    assert "as you left it" in str(second)


def test_running_a_copy_is_not_writing_in_it(series, tmp_path):
    mine = tmp_path / "mine"
    (copy,) = copies.hand_out(mine)
    notebook = read(copy.path)
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="ran")]
    nbformat.write(notebook, copy.path)
    series("first", "second", "third")
    copies.hand_out(mine)
    assert len(read(copy.path).cells) == 3
    assert names(mine) == ["01_a.ipynb"]


def test_a_newer_lesson_is_put_beside_what_was_written_once(series, tmp_path):
    mine = tmp_path / "mine"
    (copy,) = copies.hand_out(mine)
    write_in(copy.path, "what I wrote")
    series("first", "second", "third")
    for _ in range(2):
        (told,) = copies.hand_out(mine)
        assert "01_a newer.ipynb" in str(told)
        assert names(mine) == ["01_a newer.ipynb", "01_a.ipynb"]
    write_in(mine / "01_a newer.ipynb", "written there too")
    series("first", "second", "third", "fourth")
    copies.hand_out(mine)
    assert names(mine) == ["01_a newer 2.ipynb", "01_a newer.ipynb", "01_a.ipynb"]
    assert read(copy.path).cells[1].source == "what I wrote"
    assert read(mine / "01_a newer.ipynb").cells[1].source == "written there too"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"nbformat": 4}', b"\xff\xfe"])
def test_a_copy_that_cannot_be_read_stays_and_gets_a_new_one_beside_it(series, tmp_path, content):
    mine = tmp_path / "mine"
    (copy,) = copies.hand_out(mine)
    copy.path.write_bytes(content)
    (told,) = copies.hand_out(mine)
    assert "cannot be read" in str(told)
    assert copy.path.read_bytes() == content
    newer = mine / "01_a newer.ipynb"
    assert len(read(newer).cells) == 2
    newer.write_bytes(content)  # a damaged one beside it does not keep the Lab from starting
    assert "newer 2" in str(copies.hand_out(mine)[0])
    assert newer.read_bytes() == content


def test_a_reset_starts_anew_and_keeps_what_was_written(series, tmp_path):
    mine = tmp_path / "mine"
    (copy,) = copies.hand_out(mine)
    for number, name in ((1, "01_a before reset.ipynb"), (2, "01_a before reset 2.ipynb")):
        write_in(copy.path, f"attempt {number}")
        told = copies.reset(series("first", "second"), mine)
        assert name in str(told)
        assert read(mine / name).cells[1].source == f"attempt {number}"
        assert read(copy.path).cells[1].source == "second"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_each_lesson_says_what_its_source_says(path):
    made, stored = notebooks.read_source(notebooks.source_of(path)), read(path)
    kept = [(cell.cell_type, cell.source, cell.metadata) for cell in stored.cells]
    assert [(cell.cell_type, cell.source, cell.metadata) for cell in made.cells] == kept


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_solved_lesson_has_no_stub_left_and_passes_every_check(path, monkeypatch):
    made = copies.solved(path)
    cells = [cell for cell in made.cells if "check(" in cell.source]
    assert "return ..." not in "".join(cell.source for cell in cells)
    asked = [cell for cell in cells if "return" in cell.source]
    assert asked
    for cell in asked:
        results: list = []
        ask = partial(_ask, results)
        monkeypatch.setattr(exercises, "check", ask)  # where the cell imports it
        exec(cell.source, {"check": ask})  # solutions need nothing of the lesson
        assert [str(r) for r in results] == [cell.outputs[-1].data["text/plain"]]
        assert results[0].status is Status.RIGHT


def _ask(results: list, name: str, answer) -> None:
    results.append(check(name, answer))


def test_a_solved_lesson_goes_on_with_what_was_solved(series):
    path = series("1", 'f = use("00.percentile", f)')
    notebook = read(path)
    notebook.cells[0].outputs = []
    notebook.cells[1].outputs = [
        nbformat.v4.new_output("stream", text=f"00.percentile: {REFERENCE}\n")
    ]
    nbformat.write(notebook, path)
    assert MINE in copies.solved(path).cells[1].outputs[0].text
