"""Sentences to labels: tokenize, sort into batches, run, take the most probable label."""

import itertools
from collections.abc import Callable

import numpy as np

from tutorial_utils.data import reviews
from tutorial_utils.runtime import batching

WINDOW = 2_000  # sentences sorted together: more saves little padding, and costs memory


def sentences(which: str, count: int) -> tuple[str, ...]:
    """``count`` movie sentences: of the ``test`` part, or of ``all`` in a fixed random order.

    They repeat from the first when ``count`` is larger than their number.
    """
    if which == "test":
        texts = reviews.splits().test.texts
    else:
        movies = reviews.load("movies").texts
        texts = tuple(movies[i] for i in np.random.default_rng(0).permutation(len(movies)))
    return tuple(itertools.islice(itertools.cycle(texts), count))


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
    workers: batches that run at the same time; with several, the session needs fewer threads.
    ``WINDOW`` texts are tokenized and sorted at a time, so memory does not grow with their number.
    """

    def label_some(some: tuple[str, ...]) -> np.ndarray:  # frees its rows before the next ones
        rows = reviews.encode(some)
        if budget is None:
            batches = batching.in_order(len(rows), 1)
        else:
            batches = batching.by_tokens(list(map(len, rows)), budget, by_length=by_length)
        logits = batching.run(predict, rows, batches, None if budget else width, workers=workers)
        return logits.argmax(axis=1)

    starts = range(0, len(texts), WINDOW)
    labels = [label_some(texts[start : start + WINDOW]) for start in starts]
    return np.concatenate(labels) if labels else np.empty(0, dtype=np.int64)
