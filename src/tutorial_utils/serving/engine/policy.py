"""Batching policies choose which waiting texts go through the model together. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tutorial_utils.runtime import batching

# What one run of a model costs beside its tokens, in tokens, by provider: of a small encoder on a
# CPU, and of BERT-base on an H100, where 8 × 128 takes 1.6 ms and 1 × 128 takes 1.2 ms (gpu.md).
RUN_COSTS = {"cpu": 12.0, "cuda": 3_000.0}
CONSIDERED = 4  # batches' worth of texts among which the next batch is chosen


class BatchingPolicy(Protocol):
    """How a free worker chooses its next batch from the queue, which is in order of arrival."""

    def wait(self, texts: int, age: float) -> float:
        """Seconds to wait for more texts when ``texts`` are queued, the oldest for ``age`` s.

        0 starts a batch now.
        """
        ...

    def consider(self, tokens: Iterable[int]) -> int:
        """How many of the oldest texts to choose from. tokens: of each, some of them estimated."""
        ...

    def choose(self, lengths: Sequence[int], age: float, token_seconds: float) -> Sequence[int]:
        """Indices of the next batch, at least one, in order of length.

        lengths: tokens of each text considered, oldest first. age: seconds that the oldest has
        waited. token_seconds: recent mean time for one token.
        """
        ...


@dataclass(frozen=True)
class TokenBudget:
    """Length-sorted batches of at most ``budget`` tokens; the batch of the shortest texts first.

    No timer: a lone request starts at once, and batches form while the worker is busy. The batch
    of the shortest texts answers the most callers for its time, but would starve long texts.
    max_age: for how many seconds shorter texts may overtake a longer one. run_cost: the
    tokens of padding that cost as much as another run.
    """

    budget: int
    max_age: float
    run_cost: float = RUN_COSTS["cpu"]

    def wait(self, texts: int, age: float) -> float:
        return 0.0

    def consider(self, tokens: Iterable[int]) -> int:
        """Enough texts to find some of similar length.

        Not the whole queue: otherwise, younger texts could overtake a text of rare length forever.
        """
        count = total = 0
        for of_text in tokens:
            count, total = count + 1, total + of_text
            if total >= CONSIDERED * self.budget:
                break
        return count

    def choose(self, lengths: Sequence[int], age: float, token_seconds: float) -> Sequence[int]:
        # The oldest may wait for another batch only if it stays within its time. Twice the mean
        # time of a batch, since one may take longer.
        late = age + 2 * self.budget * token_seconds >= self.max_age
        return batching.next_batch(lengths, self.budget, late, self.run_cost)
