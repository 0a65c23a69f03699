"""Two verbs for learners: ``check`` an answer, and ``predict`` before a measurement.

An exercise is a function to write. ``check`` calls it on several inputs and compares the results
with those of the solution in ``notebooks/solutions``: it says how far off the answer is, and what
to try.
"""

import runpy
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_utils.core import paths
from tutorial_utils.core.errors import InvalidArgument


class Status(Enum):
    """What ``check`` found."""

    NOT_ATTEMPTED = "not attempted yet"
    WRONG = "not yet right"
    RIGHT = "right"


@dataclass(frozen=True)
class Exercise:
    """A function to write: ``lesson.function``, the inputs it is checked on, and a hint."""

    name: str
    cases: Sequence[tuple]
    hint: str

    @property
    def reference(self) -> Callable:
        """The function of that name in the solutions."""
        lesson, function = self.name.split(".")
        return runpy.run_path(str(solutions(lesson)))[function]

    @property
    def passed(self) -> str:
        """What is said of a right answer."""
        return f"{self.name}: right, on all {len(self.cases)} inputs."


@dataclass(frozen=True)
class Result:
    """What ``check`` says about an answer."""

    status: Status
    message: str

    def __repr__(self) -> str:
        return self.message


TRY_FIRST = "Write it and run the cell again: if it is wrong, you see where, with a hint."
EXERCISES: dict[str, Exercise] = {}


def solutions(lesson: str) -> Path:
    """The file with the solutions of a lesson, given by its two digits."""
    return paths.repository() / "notebooks" / "solutions" / f"s{lesson}.py"


def exercise(name: str, cases: Sequence[tuple], hint: str) -> None:
    """Add an exercise to those that learners can ask for."""
    EXERCISES[name] = Exercise(name, cases, hint)


def check(name: str, answer: Callable) -> Result:
    """Compare the function ``answer`` with the reference of exercise ``name``.

    A function that returns ``...`` (as the stubs do) has not been attempted, and gets no hint;
    a wrong answer does. An exception in the answer is reported, not raised: a lesson
    goes on.

    Raises:
        InvalidArgument: there is no such exercise.
    """
    if name not in EXERCISES:
        raise InvalidArgument(
            f"There is no exercise {name!r}, only {', '.join(sorted(EXERCISES))}."
        )
    task = EXERCISES[name]
    reference = task.reference
    for case in task.cases:
        expected = reference(*deepcopy(case))  # an answer may change what it is given
        try:
            given = answer(*deepcopy(case))
            if given is ...:
                return Result(Status.NOT_ATTEMPTED, f"{name}: not attempted yet. {TRY_FIRST}")
            reason = _difference(given, expected)
        except Exception as error:
            reason = f"raises {type(error).__name__}: {error}"
        if reason:
            inputs = ", ".join(map(_brief, case))
            text = f"{name}: not yet right. For ({inputs}) it {reason}. Hint: {task.hint}"
            return Result(Status.WRONG, text)
    return Result(Status.RIGHT, task.passed)


def predict(guess: float | None, measured: float, unit: str, digits: int = 1) -> None:
    """Show a learner's guess beside what was measured."""
    told = f"{measured:,.{digits}f} {unit}"
    if guess is None:
        print(f"You: no guess yet. Measured: {told}. Write a guess first next time.")
        return
    if min(guess, measured) > 0:
        ratio = max(guess, measured) / min(guess, measured)
        verdict = "well judged" if ratio < 1.25 else f"off by a factor of {ratio:.1f}"
    else:  # no factor leads to zero
        off = abs(guess - measured)
        verdict = "well judged" if off == 0 else f"off by {off:,.{digits}f}"
    print(f"You: {guess:,.{digits}f} {unit}. Measured: {told}: {verdict}.")


def _brief(value: object) -> str:
    graph = getattr(value, "graph", None)  # of an ONNX model
    text = " → ".join(n.op_type for n in graph.node) if graph else repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "…"


def _difference(given: Any, expected: Any) -> str | None:
    """How an answer differs from the reference, or None when it does not.

    Numbers, arrays and lists of them may differ by rounding; other values must be equal.
    """
    if given is None and expected is not None:  # numpy would turn it into NaN
        return "gives None: does the function return its result?"
    if isinstance(expected, bool) and isinstance(given, bool | np.bool_):
        return None if given == expected else f"gives {given}, expected {expected}"
    try:
        wanted = np.asarray(expected, dtype=float)
        found = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        if given == expected:
            return None
        return f"gives {_brief(given)}, expected {_brief(expected)}"
    if found.shape != wanted.shape:
        return f"gives shape {found.shape}, expected {wanted.shape}"
    if getattr(expected, "dtype", None) == np.float16 != np.asarray(given).dtype:
        return f"gives {np.asarray(given).dtype}, expected float16"
    if np.allclose(found, wanted, rtol=1e-3, atol=1e-6, equal_nan=True):
        return None
    if wanted.ndim == 0:
        off = abs(float(found) - float(wanted))
        return f"gives {float(found):.4g}, expected {float(wanted):.4g} (off by {off:.2g})"
    return f"is off by up to {np.nanmax(np.abs(found - wanted)):.2g}"
