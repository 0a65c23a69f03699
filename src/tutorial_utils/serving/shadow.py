"""A candidate's answers compared with the stable version's, in the background."""

import asyncio
import random
from collections.abc import Callable, Sequence

from tutorial_utils.serving.engine import (
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    Prediction,
)
from tutorial_utils.serving.running import Running
from tutorial_utils.serving.traffic import TrafficMetrics

MOST = 8  # requests asked of the candidate in the background; more are dropped, and counted
Judge = Callable[[Running, bool, Sequence[bool]], None]  # of whom, did it err, which labels agree


class Shadow:
    """Sends requests that the stable version has answered to a candidate too.

    Callers do not wait for it, but it costs processor time: on a busy machine, sample less.
    """

    def __init__(self, metrics: TrafficMetrics, judge: Judge):
        self._metrics, self._judge = metrics, judge
        self._tasks: set[asyncio.Task] = set()
        self._closed = False

    def mirror(
        self, candidate: Running, share: float, texts: list[str], answer: Prediction
    ) -> None:
        """Ask the candidate too, for a random ``share`` of the answers."""
        if self._closed or random.random() >= share:
            return
        if len(self._tasks) >= MOST:
            return self._count(candidate, "dropped", len(texts))
        task = asyncio.create_task(self._compare(candidate, texts, labels(answer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for the comparisons that have begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cancel the comparisons that have begun, and begin no more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await self.settle()

    async def _compare(self, candidate: Running, texts: list[str], expected: list[str]) -> None:
        if candidate.retired:  # since the task was made
            return
        try:
            answer = await candidate.predict(texts)
        except (Overloaded, DeadlineExceeded):  # of a full machine, rather than of the version
            return self._count(candidate, "dropped", len(texts))
        except InferenceFailed:
            answer = None
        if answer is None or answer.fallback:
            self._count(candidate, "failed", len(texts))
            return self._judge(candidate, True, ())
        agrees = [a == b for a, b in zip(labels(answer), expected, strict=True)]
        self._count(candidate, "agrees", sum(agrees))
        self._count(candidate, "differs", len(agrees) - sum(agrees))
        self._judge(candidate, False, agrees)

    def _count(self, candidate: Running, outcome: str, texts: int) -> None:
        self._metrics.shadowed.labels(candidate.version, outcome).inc(texts)


def labels(prediction: Prediction) -> list[str]:
    """The label of each text by its name: two versions may number them differently."""
    names = prediction.manifest.labels
    return [names[i] for i in prediction.probabilities.argmax(axis=1)]
