"""Which sentences go through the model together, and how much of the work is padding.

A batch is as wide as its longest sentence. If batches hold sentences of similar length and are
limited by tokens instead of sentences, they waste little, and each costs about the same.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tutorial_utils.core.errors import InvalidArgument

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Padding:
    """How a model's shorter rows are padded: with which token id, and on which side."""

    token: int = 0
    side: str = "right"


def padding_waste(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Share of the computed token positions that are padding, between 0 and 1.

    lengths: tokens of each sentence. batches: indices into ``lengths`` for each batch.
    """
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    real = sum(lengths[i] for batch in batches for i in batch)
    return 1 - real / computed if computed else 0.0


def in_order(count: int, size: int) -> list[list[int]]:
    """Batches of ``size`` sentences in the given order."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def by_tokens(
    lengths: Sequence[int], budget: int, overhead: float = math.inf, by_length: bool = True
) -> list[list[int]]:
    """Length-sorted batches of at most ``budget`` tokens, padding included; the shortest first.

    A sentence longer than the budget gets a batch of its own: nothing is dropped.
    overhead: the fixed cost of one run of the model, in tokens. Where padding a batch to its next
    sentence would cost more, that sentence begins a new batch. The best cut needs
    dynamic programming (Fang et al., TurboTransformers, PPoPP 2021); this rule comes close to it
    for a hundredth of the time.
    by_length: False keeps the given order, to measure what sorting gains.

    Raises:
        ValueError: the budget is not positive.
    """
    if budget < 1:
        raise InvalidArgument(f"The token budget of a batch must be at least 1, not {budget}.")
    batches: list[list[int]] = []
    tokens = width = 0  # of the last batch: without padding, and its longest sentence
    order = range(len(lengths))
    for i in sorted(order, key=lengths.__getitem__) if by_length else order:
        length, width = lengths[i], max(width, lengths[i])
        size = len(batches[-1]) if batches else 0
        if size and (size + 1) * width <= budget and size * width - tokens <= overhead:
            batches[-1].append(i)
            tokens += length
        else:
            batches.append([i])
            tokens = width = length
    return batches


def next_batch(
    lengths: Sequence[int], budget: int, late: bool = False, overhead: float = math.inf
) -> list[int]:
    """Which texts of a queue go through the model next: their indices, in order of length.

    Of all batches of at most ``budget`` tokens, the one with the shortest texts: it answers the
    most callers for its time. But that would starve long texts.
    lengths: tokens of each text, in order of arrival; at least one. late: the oldest text must not
    wait any longer, so its batch goes next. overhead, and what is raised: as in ``by_tokens``.
    """
    batches = by_tokens(lengths, budget, overhead)
    return next(batch for batch in batches if 0 in batch) if late else batches[0]


def pad(
    rows: Sequence[Sequence[int]], width: int | None = None, padding: Padding = Padding()
) -> dict[str, np.ndarray]:
    """Token ids as model inputs, each int64 (batch, width); width: the longest when not given.

    The rows of pairs carry their segments, see ``tokenization.Row``.
    """
    width = width or max(map(len, rows))
    ids = np.full((len(rows), width), padding.token, dtype=np.int64)
    mask, segments = np.zeros_like(ids), np.zeros_like(ids)
    for i, row in enumerate(rows):
        filled = slice(len(row)) if padding.side == "right" else slice(width - len(row), width)
        ids[i, filled] = row
        mask[i, filled] = 1
        if (of_pair := getattr(row, "segments", None)) is not None:
            segments[i, filled] = of_pair
    return dict(zip(INPUTS, (ids, mask, segments), strict=True))


def run(
    predict: Callable[[dict[str, np.ndarray]], np.ndarray],
    rows: Sequence[Sequence[int]],
    batches: Sequence[Sequence[int]],
    width: int | None = None,
    padding: Padding = Padding(),
    workers: int = 1,
) -> np.ndarray:
    """Answers in the order of ``rows``, not of the batches.

    predict: padded inputs of one batch → one answer per row. width: fixed padding, as in ``pad``.
    workers: batches that run at the same time, each called from a thread of its own.

    Raises:
        ValueError: the batches do not hold each row exactly once.
    """
    flat = [i for batch in batches for i in batch]
    if sorted(flat) != list(range(len(rows))):
        raise InvalidArgument(
            f"The batches must hold each of the {len(rows)} rows once; they hold {len(flat)}."
        )
    if not rows:
        return np.empty(0)

    def answer(batch: Sequence[int]) -> np.ndarray:
        return predict(pad([rows[i] for i in batch], width, padding))

    if workers == 1:
        answers = np.concatenate([answer(batch) for batch in batches])
    else:
        with ThreadPoolExecutor(workers) as pool:
            answers = np.concatenate(list(pool.map(answer, batches)))
    ordered = np.empty_like(answers)
    ordered[flat] = answers
    return ordered
