"""Real sentences to labels: tokenize, sort into batches, run, take the likeliest label."""

import itertools
from collections.abc import Callable

import numpy as np

from tutorial_utils.data import reviews
from tutorial_utils.runtime import batching

WINDOW = 2_000  # sentences sorted together: more saves little padding, and costs memory


def sentences(which: str, count: int) -> tuple[str, ...]:
    """``count`` movie sentences: of the ``test`` part, or of ``all`` in a fixed random order.

    Beyond their number they come again from the first.
    """
    texts = reviews.splits().test.texts if which == "test" else _shuffled()
    return tuple(itertools.islice(itertools.cycle(texts), count))


def _shuffled() -> tuple[str, ...]:
    texts = reviews.load("movies").texts
    return tuple(texts[i] for i in np.random.default_rng(0).permutation(len(texts)))


def label(
    texts: tuple[str, ...],
    predict: Callable[[dict[str, np.ndarray]], np.ndarray],
    *,
    budget: int | None = None,
    width: int | None = None,
    workers: int = 1,
    by_length: bool = True,
) -> np.ndarray:
    """Labels of ``texts``, int64 (n,), in their order.

    budget: tokens of a batch, sorted ``by_length``; None: one text at a time, padded to ``width``.
    workers: batches at the same time; more than one need a recipe with fewer threads each.
    A window of texts is tokenized and sorted at a time, so memory does not grow with their number.
    """

    def label_some(some: tuple[str, ...]) -> np.ndarray:  # its rows end before the next begin
        rows = reviews.encode(some)
        lengths = [len(row) for row in rows]
        batches = (
            batching.by_tokens(lengths, budget, by_length=by_length)
            if budget
            else batching.in_order(len(rows), 1)
        )
        logits = batching.run(predict, rows, batches, None if budget else width, workers=workers)
        return logits.argmax(axis=1)

    labels = [label_some(texts[window]) for window in windows(len(texts))]
    return np.concatenate(labels) if labels else np.empty(0, dtype=np.int64)


def windows(count: int) -> list[slice]:
    """Which of ``count`` texts ``label`` sorts together."""
    return [slice(start, min(start + WINDOW, count)) for start in range(0, count, WINDOW)]
