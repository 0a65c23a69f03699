"""The notes for instructors agree with the lessons, and their minutes add up."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "docs" / "teaching"
LESSONS = sorted((ROOT / "notebooks" / "sources").glob("0[0-8]_*.md"))
CORE = LESSONS[:6]
EXERCISE = re.compile(r"[Ee]xercise (\d) `(\w+)`")
MORE = " (*more*)"


def number(lesson: Path) -> str:
    return lesson.name[:2]


def notes(lesson: Path) -> str:
    return (NOTES / f"{number(lesson)}.md").read_text(encoding="utf-8")


def rows(page: str) -> list[list[str]]:
    """Cells of all rows of all tables, without heads and rules."""
    lines = re.findall(r"^\|(.*)\|$", page, re.M)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    rules = [i for i, row in enumerate(cells) if set("".join(row)) <= set("-: ")]
    heads = {i - 1 for i in rules}
    return [row for i, row in enumerate(cells) if i not in {*rules, *heads} and "".join(row[1:])]


def minutes(cell: str) -> int:
    return int(cell) if cell.isdecimal() else 0


def header(lesson: Path) -> tuple[int, int]:
    """Minutes to teach, and for the exercises."""
    teach, exercises = re.search(
        r"(\d+) (?:minutes )?to teach, (\d+) for the exercises", notes(lesson)
    ).groups()
    return int(teach), int(exercises)


def parts(lesson: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of the core, and rows of what is marked *more*."""
    found = rows(notes(lesson))
    if lesson in CORE:  # two tables; the second one has no column for the exercises
        return [r for r in found if len(r) == 4], [r for r in found if len(r) == 3]
    more = [r for r in found if r[0].lower().startswith("*more*")]
    return [r for r in found if r not in more], more


def exercises(lesson: Path) -> dict[str, tuple[str, bool]]:
    """Name of each exercise by its number, and whether it is marked *more* or in such a part."""
    found, more, task = {}, {2: False, 3: False}, None
    for line in lesson.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"(##+) ", line):
            level = len(heading[1])
            inherited = level == 3 and (more[2] or more[3])  # under a part, or after one
            more[level] = "*more*" in line or inherited
            if level == 2:
                more[3] = False
        if label := re.match(r"\*\*Exercise (\d) · .*?\.\*\*", line):
            task = label[1], "*more*" in label[0] or more[2] or more[3]
        if name := re.match(r'check\("\d\d\.(\w+)"', line):
            found[task[0]] = name[1], task[1]
    return found


def headings(lesson: Path, level: str = "##+") -> list[str]:
    return re.findall(rf"^{level} (.+)$", lesson.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("lesson", LESSONS, ids=number)
def test_parts_add_up_to_the_header_and_the_header_to_the_contract(lesson):
    core, more = parts(lesson)
    contract = lesson.read_text(encoding="utf-8")
    total = int(re.search(r"(\d+) with exercises", contract)[1])
    beyond = int(re.search(r"\*more\* takes? (?:another )?(\d+)", contract)[1])
    assert sum(minutes(cell) for row in core for cell in row[1:-1]) == sum(header(lesson)) == total
    assert not more or sum(minutes(row[1]) for row in more) == beyond


@pytest.mark.parametrize("lesson", CORE, ids=number)
def test_teaching_and_exercises_add_up_in_their_columns(lesson):
    core, _ = parts(lesson)
    assert tuple(sum(minutes(row[i]) for row in core) for i in (1, 2)) == header(lesson)


@pytest.mark.parametrize("lesson", CORE, ids=number)
def test_tables_follow_the_sections_of_the_lesson(lesson):
    tables = [
        [piece for row in table for piece in row[0].split(" · ") if not EXERCISE.fullmatch(piece)]
        for table in parts(lesson)
    ]
    titles = headings(lesson)
    assert tables[0] == [title for title in headings(lesson, "##") if MORE not in title]
    marked = [title.removesuffix(MORE) for title in titles if MORE in title]
    assert [title for title in marked if title not in tables[1]] == []
    assert [t for t in tables[1] if t not in {title.removesuffix(MORE) for title in titles}] == []


@pytest.mark.parametrize("lesson", CORE, ids=number)
def test_tables_have_each_exercise_where_the_lesson_has_it(lesson):
    for marked, table in zip((False, True), parts(lesson), strict=True):
        named = [EXERCISE.findall(row[0]) for row in table]
        wanted = {(n, name) for n, (name, more) in exercises(lesson).items() if more == marked}
        assert {one for found in named for one in found} == wanted


@pytest.mark.parametrize("lesson", LESSONS, ids=number)
def test_exercises_named_in_the_notes_exist(lesson):
    there, page = exercises(lesson), notes(lesson)
    numbers = re.findall(r"[Ee]xercises? (\d)(?:(?: and| to|,) (\d))?", page)
    assert [n for pair in numbers for n in pair if n and n not in there] == []
    assert [n for n, name in EXERCISE.findall(page) if there[n][0] != name] == []


def test_sections_named_in_the_notes_exist():
    for lesson in CORE:
        titles = {title.removesuffix(MORE) for title in headings(lesson)}
        quoted = re.findall(r'"([^"]+)" in lesson ' + number(lesson), timetable())
        assert [title for title in quoted if title not in titles] == []


def timetable() -> str:
    return (NOTES / "README.md").read_text(encoding="utf-8")


def test_timetable_has_210_minutes_and_those_of_the_notes():
    plan = rows(timetable())
    assert sum(int(row[1]) for row in plan) == 210
    clock = 0
    for start, length, _ in plan:
        hours, rest = start.split(":")
        assert 60 * int(hours) + int(rest) == clock
        clock += int(length)
    planned = {m[1]: int(row[1]) for row in plan if (m := re.search(r"\((\d\d)\.md\)", row[2]))}
    assert planned == {number(lesson): sum(header(lesson)) for lesson in CORE}
