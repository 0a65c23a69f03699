"""Reference solutions of the exercises in 04_runtime_tuning."""

from tutorial_utils.lessons.exercises.core import exercise


@exercise(
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
def _best_batch(p95_ms: dict[int, float], limit_ms: float) -> int | None:
    allowed = [batch for batch, ms in p95_ms.items() if ms <= limit_ms]
    return max(allowed, key=lambda batch: batch / p95_ms[batch], default=None)


@exercise(
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
def _padding(lengths: list[int], batches: list[list[int]]) -> float:
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths[i] for batch in batches for i in batch) / computed


@exercise(
    "04.restore",
    [
        ([[2, 0], [1, 3]], [[0.2, 0.0], [0.1, 0.3]]),
        ([[1, 2], [0]], [[5.0, 6.0], [7.0]]),
        ([[3], [1], [0, 2]], [[1.0], [2.0], [3.0, 4.0]]),
    ],
    "The answer at place k of a batch belongs to the sentence whose index is at place k of it.",
)
def _restore(batches: list[list[int]], answers: list[list[float]]) -> list[float]:
    places = [i for batch in batches for i in batch]
    flat = [answer for batch in answers for answer in batch]
    return [flat[places.index(i)] for i in range(len(places))]
