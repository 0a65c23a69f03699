"""Exercises of 00_start_here."""

from tutorial_utils.lessons.exercises.core import exercise

exercise(
    "00.percentile",
    [
        ([5.0, 1.0, 3.0, 2.0, 4.0], 50),
        ([float(i) for i in range(1, 101)], 99),
        ([float(i) for i in range(1, 11)], 91),  # a rank that has to be rounded up
        ([7.0], 95),
    ],
    "Sort the times; the nearest rank of percentile q among n values is ceil(q / 100 × n).",
)

exercise(
    "00.throughput",
    [([0.5, 0.5], 8), ([0.1, 0.2, 0.3], 1), ([0.02], 32)],
    "Items handled divided by time spent: a call handles a whole batch.",
)
