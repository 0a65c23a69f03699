"""Exercises of 06_continuous_optimization."""

from tutorial_utils.lessons.exercises.core import exercise

exercise(
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

exercise(
    "06.texts_needed",
    [(450, 0.012, 0.005), (1_000, 0.010, 0.005), (2_000, 0.006, 0.006), (600, 0.0151, 0.0100)],
    "Half the width takes four times the texts: multiply by the square of half_width / wanted, "
    "and round up.",
)
