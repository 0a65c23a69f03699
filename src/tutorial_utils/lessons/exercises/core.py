"""The verbs for exercises: ``check`` an answer, ``use`` it further down, and see a ``solution``.

An exercise is a function to write. ``check`` calls it on several inputs and compares the results
with those of the solution in ``notebooks/solutions``: it says how far off the answer is, and what
to try. Hints get plainer with each wrong answer, and after the third the solution can be seen.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import numpy as np

from tutorial_utils.core.errors import InvalidArgument, TutorialError
from tutorial_utils.lessons import progress
from tutorial_utils.lessons.exercises import solutions
from tutorial_utils.lessons.exercises.comparison import brief, difference
from tutorial_utils.lessons.progress import Progress

OPENS_AFTER = 3  # wrong answers
MINE, REFERENCE = "goes on with your function", "goes on with the reference"
Judge = Callable[[Callable], str | None]


class Status(Enum):
    """What ``check`` found."""

    NOT_ATTEMPTED = "not attempted yet"
    RAISED = "raises"
    UNDEFINED = "needs something that is not defined"
    WRONG = "not yet right"
    RIGHT = "right"


class _NotAttempted(TutorialError, NotImplementedError):
    """The answer is still the stub."""


@dataclass(frozen=True)
class Exercise:
    """A function to write: ``lesson.function``.

    cases: the inputs on which it must give what the solution gives. hints: the last is the
    plainest. judge: instead of ``cases``, what is wrong with an answer; None if it is right.
    """

    name: str
    cases: Sequence[tuple]
    hints: Sequence[str]
    judge: Judge | None = None

    @property
    def reference(self) -> Callable:
        """The function of that name in the solutions."""
        return solutions.function(self.name)

    @property
    def passed(self) -> str:
        """What is said of a right answer."""
        return f"{self.name}: right{f', on all {len(self.cases)} inputs' if self.cases else ''}."


@dataclass(frozen=True)
class Result:
    """What ``check`` says about an answer."""

    status: Status
    message: str

    def __repr__(self) -> str:
        return self.message


TRY_FIRST = "Write it and run the cell again: if it is wrong, you see where, with a hint."
RUN_ABOVE = (
    "Run the cells above first. If the name is your own, check its spelling. This does not count "
    "as an attempt."
)
EXERCISES: dict[str, Exercise] = {}
_checked: dict[str, Callable] = {}  # the last answer to each exercise
_handed_out: list[Callable] = []  # references, which are nobody's answers


def exercise(name: str, cases: Sequence[tuple], *hints: str, judge: Judge | None = None) -> None:
    """Add an exercise to those that learners can ask for."""
    EXERCISES[name] = Exercise(name, cases, hints, judge)


def check(name: str, answer: Callable) -> Result:
    """Compare the function ``answer`` with the reference of exercise ``name``.

    A function that returns ``...``, as the stubs do, has not been attempted, and gets no hint; a
    wrong answer does. An exception in the answer is reported, not raised: a lesson goes on. A name
    that is not defined is no wrong answer: mostly, a cell above was not run.

    Raises:
        InvalidArgument: there is no such exercise.
    """
    task = _named(name)
    _checked[name] = answer
    status, told = _judge(task, answer)
    if status is Status.RIGHT:
        return Result(status, task.passed)
    if status is Status.NOT_ATTEMPTED:
        return Result(status, f"{name}: {status.value}. {TRY_FIRST}")
    if status is Status.UNDEFINED:
        return Result(status, f"{name}: {told} {RUN_ABOVE}")
    attempts = progress.change(lambda now: _one_more(now, name)).attempts[name]
    hint = task.hints[min(attempts, len(task.hints)) - 1]
    more = f' solution("{name}") shows one way.' if attempts >= OPENS_AFTER else ""
    return Result(status, f"{name}: {told.rstrip('.')}. Hint: {hint}{more}")


def use(name: str, answer: Callable | None = None) -> Callable:
    """The learner's function if it is right, otherwise the reference; says which.

    So a lesson goes on with what the learner has built, and runs to its end without it too.
    answer: what ``check`` was last asked about in this process, by default. Exercises that may be
    skipped are used that way.
    """
    task, answer = _named(name), answer or _checked.get(name)
    # A cell that is run again may pass the reference that it got the first time.
    if answer and answer not in _handed_out and _judge(task, answer)[0] is Status.RIGHT:
        print(f"{name}: {MINE}")
        return answer
    print(f"{name}: {REFERENCE}")
    _handed_out.append(reference := task.reference)
    return reference


def solution(name: str) -> None:
    """Print the source of the reference, once there were three wrong answers."""
    _named(name)
    left = OPENS_AFTER - progress.read().attempts.get(name, 0)
    if left > 0:
        print(f"{name}: opens after {left} more {'tries' if left > 1 else 'try'} with check().")
        return
    print(solutions.source(name))


def _named(name: str) -> Exercise:
    if name not in EXERCISES:
        known = ", ".join(sorted(EXERCISES))
        raise InvalidArgument(f"There is no exercise {name!r}, only {known}.")
    return EXERCISES[name]


def _one_more(now: Progress, name: str) -> Progress:
    return replace(now, attempts={**now.attempts, name: now.attempts.get(name, 0) + 1})


def _judge(task: Exercise, answer: Callable) -> tuple[Status, str]:
    """What an answer is, and what is wrong with it."""

    def attempt(*given):
        result = answer(*given)
        if result is ...:
            raise _NotAttempted
        return result

    judges = [partial(task.judge, attempt)] if task.judge else _comparisons(task, attempt)
    for judge in judges:
        try:
            with np.errstate(all="ignore"):  # a right answer may divide by zero on its way
                wrong = judge()
        except _NotAttempted:
            return Status.NOT_ATTEMPTED, ""
        except NameError as error:
            if isinstance(error, UnboundLocalError):  # a mistake in the answer itself
                return Status.RAISED, f"raises {type(error).__name__}: {error}"
            return Status.UNDEFINED, f"`{error.name}` is not defined."
        except Exception as error:
            return Status.RAISED, f"raises {type(error).__name__}: {error}"
        if wrong:
            return Status.WRONG, f"not yet right. {wrong}"
    return Status.RIGHT, ""


def _comparisons(task: Exercise, attempt: Callable) -> Iterator[Callable[[], str | None]]:
    """A comparison with the reference for each case."""
    reference = task.reference
    for case in task.cases:
        expected = reference(*deepcopy(case))  # an answer may change what it is given

        def compare(case=case, expected=expected) -> str | None:
            wrong = difference(attempt(*deepcopy(case)), expected)
            return wrong and f"For ({', '.join(map(brief, case))}) it {wrong}"

        yield compare
