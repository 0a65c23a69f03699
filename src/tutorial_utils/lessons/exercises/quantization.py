"""Exercises of 03_quantization."""

import numpy as np

from tutorial_utils.lessons.exercises.core import exercise

exercise(
    "03.asymmetric",
    [
        (np.array(values),)
        for values in ([-0.3, 0.0, 0.9, 2.1], [0.5, 1.0, 2.0], [-4.0, -1.0], [-1.0, 1.0, 3.0])
    ],
    "Stretch the range until it holds 0; 256 levels have 255 steps; the zero point is the level "
    "on which 0 lands, rounded.",
)

exercise(
    "03.megabytes",
    [
        ({"Gather": 24e6, "Attention": 21e6, "MatMul": 64e6}, ["MatMul", "Add", "Gemm"]),
        ({"Gather": 24e6, "Attention": 21e6, "MatMul": 64e6}, ["MatMul", "Attention", "Gather"]),
        ({"Gather": 12e6, "MatMul": 11e6}, []),
    ],
    "One byte a weight for an operator in the list, four for any other; 1 MB is 10^6 bytes.",
)

exercise(
    "03.pareto",
    [
        ({"a": (10.0, 3.0), "b": (20.0, 1.0), "c": (25.0, 2.0)},),
        ({"a": (1.0, 1.0), "b": (2.0, 2.0), "c": (0.5, 3.0)},),
        ({"a": (1.0, 2.0), "b": (1.0, 3.0)},),
        ({"right": (3.0, 1.0), "middle": (2.0, 2.0), "left": (1.0, 3.0)},),
        ({"a": (1.0, 1.0), "b": (1.0, 1.0)},),
    ],
    "A point is beaten when another one is no worse in both numbers and better in one. Return the "
    "names that nothing beats, sorted.",
)
