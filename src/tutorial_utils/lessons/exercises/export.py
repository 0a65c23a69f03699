"""Exercises of 01_export."""

import numpy as np

from tutorial_utils.lessons.exercises.core import exercise

_ROW = np.array([[0.5, -1.5], [2.0, 0.25]])
_OFF = np.array([[0.5, -1.5], [2.0, 0.249]])
_NAN = np.array([[0.5, np.nan], [2.0, 0.25]])
_INFINITE = np.array([[0.5, np.inf], [2.0, 0.25]])

exercise(
    "01.same",
    [
        (_ROW, _ROW + 1e-6, 1e-5),
        (_ROW, _OFF, 1e-5),
        (_OFF, _ROW, 1e-5),
        (_ROW, _NAN, 1e-5),
        (_NAN, _NAN, 1e-5),
        (_INFINITE, _INFINITE, 1e-5),
        (np.ones((2, 2)), np.ones((1, 2)), 1e-5),
        (1_000 * _ROW, 1_000 * _ROW + 1e-3, 1e-5),
    ],
    "Ask for equal shapes first, then np.isfinite(...).all() of both, then the largest |a − b|.",
)

exercise(
    "01.foldable",
    [
        ([(["w", "scale"], "a"), (["x", "a"], "b")], {"w", "scale"}),
        ([(["w"], "a"), (["a"], "b"), (["a", "b"], "c"), (["c", "x"], "d")], {"w"}),
        ([(["x"], "a"), (["a"], "b")], {"w"}),
        ([([], "constant"), (["constant"], "a"), (["x", "constant"], "b")], set()),
    ],
    "Keep a set of known names; when all inputs of a node are in it, its output joins the set.",
)
