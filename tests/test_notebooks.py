"""The notebooks keep their contract. nbval checks their outputs."""

import base64
import json
import re
import statistics
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
LONGEST = {"02_fusion": 26}  # until all lessons are executed again, because 02 measures a row
IMPORT = re.compile(r"\s*(import|from) ")
CONTRACT = ("You will do", "You will learn", "You need", "Minutes", "Hardware")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def code(path: Path) -> list[dict]:
    return [cell for cell in load(path)["cells"] if cell["cell_type"] == "code"]


def outputs(path: Path) -> list[dict]:
    return [output for cell in code(path) for output in cell["outputs"]]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_opens_with_the_contract_and_closes_with_a_recap_and_links(path):
    cells = load(path)["cells"]
    first, last = source(cells[0]), source(cells[-1])
    assert first.startswith("# ")
    assert [key for key in CONTRACT if f"- **{key}**" not in first] == []
    assert "## Recap" in last
    assert "https://" in last
    neighbours = [NAMES[i] for i in (NAMES.index(path.stem) - 1, NAMES.index(path.stem) + 1)
                  if 0 <= i < len(NAMES)]  # fmt: skip
    assert [name for name in neighbours if f"({name}.ipynb)" not in last] == []


def test_has_the_size_of_a_lesson(path):
    # What bounds a lesson is its time, which its contract says, and not the number of its cells.
    assert len(load(path)["cells"]) >= 25
    own = re.compile(r"(guess|measured)\([^\n]*\)\s*")  # a line that asks, or answers a guess
    lines = [
        source(cell).splitlines()
        for cell in code(path)
        if "ci" not in cell["metadata"].get("tags", []) and not own.fullmatch(source(cell))
    ]
    assert max(map(len, lines)) <= LONGEST.get(path.stem, 25)
    # Imports and single brackets (ruff format adds many) are not counted as lines to read.
    read = [[x for x in cell if re.search(r"\w", x) and not IMPORT.match(x)] for cell in lines]
    assert 4 <= statistics.median(map(len, read)) <= 9
    assert path.stat().st_size < 1_000_000


def test_was_executed_from_top_to_bottom_without_errors(path):
    counts = [cell["execution_count"] for cell in code(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert [o for o in outputs(path) if o["output_type"] == "error"] == []
    assert [o for o in outputs(path) if o.get("name") == "stderr"] == []


def test_stores_no_state_of_widgets_machine_or_time(path):
    notebook = load(path)
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set().union(*(cell["metadata"] for cell in notebook["cells"])) <= {"tags"}
    # Paths of a machine; /v2/… are routes of the service.
    found = r"[\"' (](?!/v2/)(/[a-z]\w+){2,}|[A-Z]:\\\\"
    assert not re.search(found, json.dumps(outputs(path)))


def test_most_cells_are_compared(path):
    tagged = [c for c in code(path) if "nbval-ignore-output" in c["metadata"].get("tags", [])]
    assert len(tagged) <= 0.4 * len(code(path))


def test_asks_for_a_guess_and_stores_no_attempts_at_exercises(path):
    text = "\n".join(source(cell) for cell in code(path))
    asked, answered = (
        re.findall(rf'^ *{verb}\("([\w.]+)"', text, re.M) for verb in ("guess", "measured")
    )
    assert len(asked) >= 3
    assert sorted(asked) == sorted(answered)
    assert not re.search(r"^guess\(.*, \d", text, re.M)  # none is given away
    assert text.count("check(") >= 3
    said = json.dumps(outputs(path))
    assert said.count("not attempted yet") == len(re.findall(r'check\("', text))


def test_asks_its_quiz_and_answers_nothing(path):
    lesson = path.name[:2]
    asked = [source(cell) for cell in code(path) if f'quiz("{lesson}", ' in source(cell)]
    assert len(asked) == 1
    assert Path(FOLDER, "quizzes", f"{lesson}.toml").exists()
    assert not any(re.search(rf'quiz\("{lesson}", "[^"]*[a-d]', cell) for cell in asked)


def test_every_picture_is_a_png_with_alt_text(path):
    pictures = [o for o in outputs(path) if "image/png" in o.get("data", {})]
    assert pictures
    for picture in pictures:
        alt = picture["metadata"]["image/png"]["alt"]
        assert len(alt) > 30
        assert alt in "".join(picture["data"]["text/plain"])
        data = base64.b64decode("".join(picture["data"]["image/png"]))
        assert data.startswith(b"\x89PNG")
        assert len(data) > 2_000
    assert "image/svg+xml" not in json.dumps(outputs(path))


def test_shows_the_ledger(path):
    text = "\n".join(source(cell) for cell in code(path))
    assert re.search(r"^ledger\.table\(\)$", text, re.M)


def test_prose_has_no_measured_times(path):
    prose = "\n".join(source(c) for c in load(path)["cells"] if c["cell_type"] == "markdown")
    found = re.findall(r"\b\d+(?:\.\d+)?\s?(?:ms|milliseconds|texts/s|items/s)\b", prose)
    assert found == []


def test_has_notes_for_instructors(path):
    notes = (FOLDER.parent / "docs" / "teaching" / f"{path.name[:2]}.md").read_text(
        encoding="utf-8"
    )
    assert re.search(r"\d+ (minutes )?to teach, \d+ for the exercises", notes)
    assert re.search(r"^\W*Break\b", notes, re.M)
    assert "short of time" in notes or "time is short" in notes
    _, questions = notes.split("uestions that always come")
    assert questions.count("?*") >= 4
