"""Exercises of 05_serving."""

from tutorial_utils.lessons.exercises.core import exercise

exercise(
    "05.stable_softmax",
    [([1.0, 2.0, 3.0],), ([1000.0, 1001.0],), ([-1000.0, -1000.0],), ([5000.0, -5000.0, 0.0],)],
    "exp overflows above 709. Subtract the largest logit first: the ratio stays the same.",
)

exercise(
    "05.admit",
    [(0, 8, 10), (8, 2, 10), (8, 3, 10), (10, 1, 10), (0, 11, 10)],
    "A request is taken whole or not at all: is there room for all of its texts?",
)
