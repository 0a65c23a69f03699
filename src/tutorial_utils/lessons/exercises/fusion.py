"""Exercises of 02_fusion."""

from tutorial_utils.lessons.exercises.core import exercise

_FLOAT_BYTES = 4


exercise(
    "02.traffic",
    [(1 * 128 * 1536, 6), (1 * 128 * 1536, 1), (8 * 128 * 3072, 6)],
    "4 bytes an element; every operator reads one tensor and writes one.",
)

exercise(
    "02.missing",
    [
        ({"Attention": 6, "BiasGelu": 6}, {"BiasGelu": 6, "MatMul": 48}),
        ({"Attention": 12, "SkipLayerNormalization": 24}, {"Attention": 5}),
        ({"Attention": 6}, {"Attention": 6, "MatMul": 18}),
        ({"Attention": 6}, {"Attention": 7}),
    ],
    "An operator that was never found is not a key of `found`: look it up with .get(op, 0).",
)
