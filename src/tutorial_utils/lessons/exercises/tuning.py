"""Exercises of 04_runtime_tuning."""

from tutorial_utils.lessons.exercises.core import exercise

exercise(
    "04.best_batch",
    [
        ({1: 4.0, 4: 8.0, 16: 24.0, 64: 110.0}, 50.0),
        ({1: 4.0, 4: 8.0, 16: 24.0, 64: 90.0}, 100.0),
        ({1: 4.0, 4: 20.0, 16: 90.0}, 30.0),
        ({1: 4.0, 8: 30.0}, 2.0),
    ],
    "Throughput is batch / milliseconds. Of the batches within the limit take the one with the "
    "most, which need not be the largest; None when none is within it.",
)

exercise(
    "04.padding",
    [
        ([3, 5, 8, 8], [[0, 1], [2, 3]]),
        ([10, 10, 10], [[0, 1, 2]]),
        ([1, 100, 2, 50], [[0, 1], [2, 3]]),
        ([128, 12, 30], [[0], [1], [2]]),
    ],
    "A batch of n sentences computes n × its longest length; add over the batches first, divide "
    "once at the end.",
)

exercise(
    "04.restore",
    [
        ([[2, 0], [1, 3]], [[0.2, 0.0], [0.1, 0.3]]),
        ([[1, 2], [0]], [[5.0, 6.0], [7.0]]),
        ([[3], [1], [0, 2]], [[1.0], [2.0], [3.0, 4.0]]),
    ],
    "The answer at place k of a batch belongs to the sentence whose index is at place k of it.",
)
