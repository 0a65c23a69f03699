"""Figures that are shown in two places are the same."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import readme_ledger
from tutorial_utils.lessons import ledger, notebooks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def shown_tables(lesson: Path) -> list[str]:
    """The ledger in each cell of a notebook that shows it."""
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    return [
        "".join(output["data"]["text/plain"])
        for cell in cells
        if re.search(r"^ledger\.table\(\)$", "".join(cell["source"]), re.M)
        for output in cell["outputs"]
        if "data" in output
    ]


def test_readme_shows_the_ledger_of_the_stored_notebooks():
    section = re.search("<!-- results:begin -->\n(.*)\n<!-- results:end -->", README, re.S)
    assert section
    assert section[1] == readme_ledger.markdown()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_all_notebooks_show_one_ledger(lesson):
    """Whoever executes a lesson that measures a row has to execute all of them."""
    rows = ledger.rows_of(notebooks.kept_ledger())
    known = [str(ledger.table(rows[:n])) for n in range(1, len(rows) + 1)]
    tables = shown_tables(lesson)
    assert tables
    assert [table for table in tables if table not in known] == []


def test_each_column_of_the_ledger_follows_from_the_first_row():
    first, *others = ledger.rows_of(notebooks.kept_ledger())
    assert first.step == "pytorch"
    for row in others:
        assert row.latency_ms == pytest.approx(first.latency_ms * row.latency.ratio)
        assert row.texts_per_s == pytest.approx(first.texts_per_s / row.labelling.ratio)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_readme_and_lesson_tell_the_same_minutes(lesson):
    source = notebooks.source_of(lesson).read_text(encoding="utf-8")
    (told,) = re.findall(r"- \*\*Minutes\*\*: \d+ to read and run, (\d+) with exercises", source)
    (row,) = (line for line in README.splitlines() if line.startswith(f"| [{lesson.stem[:2]} ·"))
    assert row.split("|")[-2].strip() == told
