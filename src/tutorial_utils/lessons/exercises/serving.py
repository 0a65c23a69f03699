"""Reference solutions of the exercises in 05_serving."""

import numpy as np

from tutorial_utils.lessons.exercises.core import exercise


@exercise(
    "05.stable_softmax",
    [([1.0, 2.0, 3.0],), ([1000.0, 1001.0],), ([-1000.0, -1000.0],), ([5000.0, -5000.0, 0.0],)],
    "exp overflows above 709. Subtract the largest logit first: the ratio stays the same.",
)
def _stable_softmax(logits: list[float]) -> list[float]:
    powers = np.exp(np.subtract(logits, max(logits)))
    return list(powers / powers.sum())


@exercise(
    "05.admit",
    [(0, 8, 10), (8, 2, 10), (8, 3, 10), (10, 1, 10), (0, 11, 10)],
    "A request is taken whole or not at all: is there room for all of its texts?",
)
def _admit(waiting: int, texts: int, limit: int) -> int:
    return 200 if waiting + texts <= limit else 429
