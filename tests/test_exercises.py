"""Each exercise distinguishes the stub, wrong answers and the solution."""

import importlib.util
import inspect
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from right_answers import RIGHT

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons.exercises import EXERCISES, Status, check, predict

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
    assert EXERCISES[name].hint not in str(result)  # it would give the answer away


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_wrong_answers_are_recognized_and_get_the_hint(name):
    wrong = module(WRONG / f"w{name.split('.')[0]}.py").WRONG[name]
    assert len(wrong) >= 2
    for answer in wrong:
        result = check(name, answer)
        assert result.status is Status.WRONG, inspect.getsource(answer)
        assert EXERCISES[name].hint in str(result)


def test_an_answer_that_changes_its_inputs_leaves_those_of_the_next_check():
    wrong = module(WRONG / "w08.py").WRONG["08.bound"]
    assert check("08.bound", solution("08.bound")).status is Status.RIGHT  # it refills arrays[0]
    assert all(check("08.bound", answer).status is Status.WRONG for answer in wrong)


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
    assert result.status is Status.WRONG
    assert "RuntimeError: unfinished" in str(result)


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_the_notebooks_stub_has_the_name_and_arguments_of_the_solution(name):
    number, function = name.split(".")
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    parameters = ", ".join(inspect.signature(solution(name)).parameters)
    assert f"def {function}({parameters})" in source
    assert f'check("{name}", {function})' in source


def test_every_lesson_has_at_least_two_exercises():
    lessons = [path.name[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")]
    for lesson in lessons:
        assert sum(name.startswith(lesson) for name in EXERCISES) >= 2


def test_an_unknown_exercise_is_an_error_that_lists_the_known_ones():
    with pytest.raises(InvalidArgument, match=r"00\.percentile"):
        check("99.nothing", lambda: None)


@pytest.mark.parametrize(
    ("guess", "printed"), [(None, "no guess yet"), (10.0, "well judged"), (30.0, "factor of 3.0")]
)
def test_a_guess_is_compared_with_the_measurement(guess, printed, capsys):
    predict(guess, 10.0, "ms")
    assert printed in capsys.readouterr().out


def test_a_guess_is_compared_with_a_measured_zero(capsys):
    predict(6, 0.0, "attentions fused", digits=0)
    predict(0, 0.0, "attentions fused", digits=0)
    assert [line.split(": ")[-1] for line in capsys.readouterr().out.splitlines()] == [
        "off by 6.",
        "well judged.",
    ]
