"""What is marked *more* can be skipped, and what is left of the core fits into half a day."""

import ast
import builtins
import re

import pytest

from tutorial_utils.lessons import notebooks

LESSONS = notebooks.find()
CORE = LESSONS[:6]
HEADING = re.compile(r"^(##+) (.*)$", re.M)
MORE = "(*more*)"
EXERCISE = re.compile(r"^\*\*Exercise \d · (tweak|fix|build)( \(\*more\*\))?\.\*\*", re.M)


def source(lesson):
    return notebooks.source_of(lesson).read_text(encoding="utf-8")


def cells(lesson):
    """Each cell of a lesson, with whether it may be skipped: its section or exercise is *more*."""
    level, exercise, found = 0, False, []  # level of the heading that said *more*; 0: none did
    for cell in notebooks.read_source(notebooks.source_of(lesson)).cells:
        if cell.cell_type == "markdown":
            for marks, heading in HEADING.findall(cell.source):
                if level == 0 or len(marks) <= level:
                    level = len(marks) if MORE in heading else 0
            exercise = any(more for _, more in EXERCISE.findall(cell.source))
        found.append((cell, level > 0 or (exercise and "check(" in cell.source)))
    return found


def names(statement):
    """Names that a statement makes, and those that it needs from before."""
    made, needed, local = set(), set(), set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            (needed if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            local.add(node.arg)
    # "x = f(x)" needs the x of before; a loop or a function may use what it makes itself.
    return made, needed - local - (set() if isinstance(statement, ast.Assign) else made)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_nothing_needs_what_may_be_skipped(lesson):
    known, skipped, missing = set(dir(builtins)), set(), set()
    for cell, more in cells(lesson):
        if cell.cell_type != "code":
            continue
        for statement in ast.parse(cell.source).body:
            made, needed = names(statement)
            if more:
                skipped |= made
            else:
                missing |= needed & (skipped - known)
                known |= made
    assert missing == set()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_what_may_be_skipped_is_marked_in_one_way(lesson):
    text = source(lesson)
    odd = [h for _, h in HEADING.findall(text) if re.search(r"\bmore\b", h, re.I) and MORE not in h]
    assert odd == []
    assert len(EXERCISE.findall(text)) == text.count("**Exercise ")


@pytest.mark.parametrize("lesson", CORE, ids=lambda path: path.stem)
def test_a_core_lesson_has_two_core_exercises(lesson):
    found = [
        more or bool(marked)
        for cell, more in cells(lesson)
        if cell.cell_type == "markdown"
        for _, marked in EXERCISE.findall(cell.source)
    ]
    assert found.count(False) == 2


def test_the_core_fits_into_half_a_day():
    """3.5 hours with breaks of half an hour in all."""
    told = [re.search(r"(\d+) with exercises", source(lesson))[1] for lesson in CORE]
    assert sum(map(int, told)) <= 180
