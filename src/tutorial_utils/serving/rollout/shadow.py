"""Compares a candidate's answers with the stable version's, in the background."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

import numpy as np

from tutorial_utils.registry import Manifest
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.serving.engine.failures import DeadlineExceeded, InferenceFailed, Overloaded
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.rollout.traffic import Candidate, TrafficMetrics
from tutorial_utils.tasks import named

log = logging.getLogger(__name__)

MOST = 8  # requests asked of the candidate in the background; more are dropped, and counted
Judge = Callable[
    [Candidate, bool, Sequence[bool]], None
]  # candidate, did it err, which texts agree


class Shadow:
    """Sends requests that the stable version has answered to a candidate as well.

    Callers do not wait for it, but it costs processor time: on a busy machine, sample less.
    """

    def __init__(self, metrics: TrafficMetrics, judge: Judge):
        self._metrics, self._judge = metrics, judge
        self._tasks: set[asyncio.Task] = set()
        self._closed = False

    def mirror(self, candidate: Candidate, texts: Sequence[Text], answer: Prediction) -> None:
        """Ask the candidate too, for a random share of the answers."""
        if self._closed or random.random() >= candidate.shadow:
            return
        if len(self._tasks) >= MOST:
            return self._count(candidate, "dropped", len(texts))
        task = asyncio.create_task(self._compare(candidate, texts, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for the comparisons that have begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cancel the comparisons that have begun, and begin no new ones."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await self.settle()

    async def _compare(
        self, candidate: Candidate, texts: Sequence[Text], expected: Prediction
    ) -> None:
        try:
            answer = await candidate.engine.predict(texts)
        except (Overloaded, DeadlineExceeded):  # of a full machine, rather than of the version
            return self._count(candidate, "dropped", len(texts))
        except InferenceFailed:
            answer = None
        if answer is None or answer.fallback:
            self._count(candidate, "failed", len(texts))
            return self._judge(candidate, True, ())
        agrees = same_answers(expected, answer)
        if agrees is None:  # only errors can be judged
            self._count(candidate, "dropped", len(texts))
        else:
            self._count(candidate, "agrees", sum(agrees))
            self._count(candidate, "differs", len(agrees) - sum(agrees))
        self._judge(candidate, False, agrees or ())

    def _count(self, candidate: Candidate, outcome: str, texts: int) -> None:
        self._metrics.shadowed.labels(candidate.engine.version, outcome).inc(texts)


def same_answers(expected: Prediction, found: Prediction) -> list[bool] | None:
    """Which texts two versions answer alike, as their task defines it.

    Labels are compared by name, since two versions may number them differently. A label that only
    one of them has counts as never given by the other. Versions of different tasks never agree.
    None: they are regressions, and neither manifest says how far the labels spread.
    """
    task = named(expected.manifest.task)
    if found.manifest.task != task.name:
        return [False] * len(expected.probabilities)
    names = list(dict.fromkeys((*expected.manifest.labels, *found.manifest.labels)))

    def by_name(values: np.ndarray, manifest: Manifest) -> np.ndarray:
        """Columns of ``values`` (n, labels) in the order of ``names``."""
        columns = np.full((len(values), len(names)), task.missing)
        columns[:, [names.index(label) for label in manifest.labels]] = values
        return columns

    if not names:  # vectors, whose numbers have no names
        if expected.probabilities.shape != found.probabilities.shape:
            return [False] * len(expected.probabilities)
        return task.same(expected.probabilities, found.probabilities).tolist()
    spread = None
    if task.measured_by_spread:
        known = next((p.manifest for p in (expected, found) if p.manifest.label_spread), None)
        if known is None:
            log.warning("values are not compared: no manifest has label_spread; publish again")
            return None
        spread = by_name(np.array([known.label_spread]), known)[0]
    first, second = (by_name(p.probabilities, p.manifest) for p in (expected, found))
    return task.same(first, second, spread).tolist()
