"""Reference solutions of the exercises in 06_continuous_optimization."""

import math

from tutorial_utils.lessons.exercises.core import exercise


@exercise(
    "06.score_missed",
    [
        (-0.002, -0.006, 0.005, False),
        (-0.002, -0.006, 0.005, True),
        (-0.008, -0.012, 0.005, False),
        (0.001, -0.002, 0.005, True),
        (-0.006, -0.009, 0.010, True),
        (0.004, 0.001, 0.0, False),
    ],
    "One number decides: `difference`, or `low` where `certain`. It is missed when that number "
    "lies below minus the tolerance.",
)
def _score_missed(difference: float, low: float, tolerance: float, certain: bool) -> bool:
    return (low if certain else difference) < -tolerance


@exercise(
    "06.texts_needed",
    [(450, 0.012, 0.005), (1_000, 0.010, 0.005), (2_000, 0.006, 0.006), (600, 0.0151, 0.0100)],
    "Half the width takes four times the texts: multiply by the square of half_width / wanted, "
    "and round up.",
)
def _texts_needed(texts: int, half_width: float, wanted: float) -> int:
    return math.ceil(texts * (half_width / wanted) ** 2)
