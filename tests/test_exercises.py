"""Each exercise distinguishes the stub, wrong answers and the solution."""

import importlib.util
import inspect
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from right_answers import RIGHT

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons import progress
from tutorial_utils.lessons.exercises import EXERCISES, Status, check, core, solutions, use
from tutorial_utils.lessons.exercises import solution as show
from tutorial_utils.lessons.exercises.core import Exercise

ROOT = Path(__file__).parents[1]
SOLUTIONS = ROOT / "notebooks" / "solutions"
WRONG = ROOT / "tests" / "wrong_answers"


def module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def solution(name: str):
    number, function = name.split(".")
    return getattr(module(SOLUTIONS / f"s{number}.py"), function)


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_the_solution_is_right_and_documented(name):
    assert check(name, solution(name)).status is Status.RIGHT
    assert inspect.getdoc(solution(name))
    for case, expected in zip(EXERCISES[name].cases, RIGHT[name], strict=True):
        found = solution(name)(*deepcopy(case))
        if isinstance(expected, float | tuple | np.ndarray):
            np.testing.assert_allclose(found, expected, rtol=1e-3)
        else:
            assert found == expected or np.allclose(found, expected)


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_a_stub_counts_as_not_attempted_and_gets_no_hint(name):
    result = check(name, lambda *_: ...)
    assert result.status is Status.NOT_ATTEMPTED
    assert "not attempted yet" in str(result)
    assert not any(hint in str(result) for hint in EXERCISES[name].hints)  # they give it away


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_wrong_answers_are_recognized_and_get_the_hint(name):
    wrong = module(WRONG / f"w{name.split('.')[0]}.py").WRONG[name]
    assert len(wrong) >= 2
    for answer in wrong:
        result = check(name, answer)
        assert result.status in (Status.WRONG, Status.RAISED), inspect.getsource(answer)
        assert any(hint in str(result) for hint in EXERCISES[name].hints)


def test_an_answer_that_changes_its_inputs_leaves_those_of_the_next_check():
    wrong = module(WRONG / "w08.py").WRONG["08.bound"]
    assert check("08.bound", solution("08.bound")).status is Status.RIGHT  # it refills arrays[0]
    assert Status.RIGHT not in {check("08.bound", answer).status for answer in wrong}


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_an_answer_that_returns_nothing_is_wrong(name):
    result = check(name, lambda *_: None)
    assert result.status is Status.WRONG
    assert "nan" not in str(result).split("Hint")[0]


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_an_answer_that_raises_does_not_stop_the_lesson(name):
    def raises(*_):
        raise RuntimeError("unfinished")

    result = check(name, raises)
    assert result.status is Status.RAISED
    assert "RuntimeError: unfinished" in str(result)


def test_a_name_from_a_cell_that_was_not_run_is_no_attempt(doubled):
    for _ in range(4):
        result = check(doubled.name, lambda x: by_status(x))  # noqa: F821
        assert result.status is Status.UNDEFINED
        assert "`by_status` is not defined. Run the cells above first" in str(result)
        assert "Hint" not in str(result)
    assert doubled.hints[0] in str(check(doubled.name, lambda x: None))


def test_a_variable_that_is_used_before_it_is_set_is_a_wrong_answer(doubled):
    def unset(x):
        if x > 100:
            twice = 2 * x
        return twice

    assert check(doubled.name, unset).status is Status.RAISED


@pytest.mark.parametrize(
    ("name", "number", "told"),
    [
        ("07.in_share", 4, "8 bytes, which are 16 hex digits"),
        ("07.in_share", 2, "exactly the callers that it should leave out"),
        ("07.in_share", 5, "not between 0 and 1"),
        ("07.differing", 2, "Take the output *named* `label`"),
    ],
)
def test_a_frequent_mistake_is_named(name, number, told):
    assert told in str(check(name, module(WRONG / "w07.py").WRONG[name][number]))


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_the_notebooks_stub_has_the_name_and_arguments_of_the_solution(name):
    number, function = name.split(".")
    (path,) = (ROOT / "notebooks" / "sources").glob(f"{number}_*.md")
    source = path.read_text(encoding="utf-8")
    parameters = ", ".join(inspect.signature(solution(name)).parameters)
    assert f"def {function}({parameters})" in source
    assert f'check("{name}", {function})' in source


@pytest.fixture
def doubled(monkeypatch):
    """An exercise with a hint for each of three attempts."""
    hints = ("think of a product", "with two", "x * 2")
    made = Exercise("00.doubled", [(1,), (5,)], hints)
    monkeypatch.setitem(EXERCISES, made.name, made)
    monkeypatch.setattr(solutions, "function", lambda name: lambda x: 2 * x)
    monkeypatch.setattr(core, "_checked", {})
    return made


def test_hints_get_plainer_with_each_wrong_answer_and_then_the_solution_opens(doubled, capsys):
    for number, hint in enumerate([*doubled.hints, doubled.hints[-1]], 1):
        told = str(check(doubled.name, lambda x: x + 1))
        assert hint in told
        assert [other for other in doubled.hints if other in told] == [hint]
        assert ("solution(" in told) == (number >= 3)


def test_a_stub_is_no_attempt(doubled):
    for _ in range(4):
        check(doubled.name, lambda x: ...)
    assert doubled.hints[0] in str(check(doubled.name, lambda x: None))


def test_use_goes_on_with_a_right_answer_and_else_with_the_reference(doubled, capsys):
    def mine(x):
        return x + x

    assert use(doubled.name, mine) is mine
    for other in (lambda x: ..., lambda x: x, lambda x: 1 / 0):
        assert use(doubled.name, other)(21) == 42
    assert capsys.readouterr().out.count("the reference") == 3
    assert progress.read().attempts == {}  # only a check is an attempt


def test_use_gives_no_one_credit_for_the_reference(doubled, capsys):
    given = use(doubled.name, lambda x: 1)
    assert use(doubled.name, given)(21) == 42  # the cell is run again
    assert capsys.readouterr().out.count("the reference") == 2


def test_use_knows_what_was_checked_so_an_exercise_may_be_skipped(doubled, capsys):
    def mine(x):
        return x + x

    assert use(doubled.name)(21) == 42
    check(doubled.name, lambda x: 1)
    assert use(doubled.name)(21) == 42
    check(doubled.name, mine)
    assert use(doubled.name) is mine
    assert capsys.readouterr().out.count("the reference") == 2


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_the_solution_can_be_read_after_three_wrong_answers_and_runs_alone(name, capsys):
    for left in (3, 2, 1):
        show(name)
        assert f"after {left} more" in capsys.readouterr().out
        check(name, lambda *_: None)
    show(name)
    namespace: dict = {}
    exec(capsys.readouterr().out, namespace)
    assert check(name, namespace[name.split(".")[1]]).status is Status.RIGHT


def test_a_judge_says_what_is_wrong_and_sees_no_stub():
    def judge(answer):
        return None if answer(3) == 9 else f"It gives {answer(3)} for 3."

    EXERCISES["00.judged"] = Exercise("00.judged", (), ("square it",), judge)
    try:
        assert check("00.judged", lambda x: x * x).status is Status.RIGHT
        assert "It gives 6 for 3. Hint" in str(check("00.judged", lambda x: 2 * x))
        assert check("00.judged", lambda x: ...).status is Status.NOT_ATTEMPTED
        assert check("00.judged", lambda x: 1 / 0).status is Status.RAISED
    finally:
        del EXERCISES["00.judged"]


def test_every_lesson_has_at_least_two_exercises():
    lessons = [path.name[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")]
    for lesson in lessons:
        assert sum(name.startswith(lesson) for name in EXERCISES) >= 2


def test_an_unknown_exercise_is_an_error_that_lists_the_known_ones():
    with pytest.raises(InvalidArgument, match=r"00\.percentile"):
        check("99.nothing", lambda: None)
