"""From texts to probabilities, off the event loop, bounded in waiting texts and in time."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tutorial_utils import batching
from tutorial_utils.serving.registry import LoadedModel
from tutorial_utils.serving.settings import Settings

log = logging.getLogger(__name__)


class Overloaded(RuntimeError):
    """More texts wait than the service takes; try again after ``retry_after`` seconds."""

    retry_after = 1


class DeadlineExceeded(RuntimeError):
    """The answer was not there in time."""


class InferenceFailed(RuntimeError):
    """The model raised; the cause is in the log, not in the message."""


@dataclass(frozen=True)
class Prediction:
    """Probabilities, float32 (texts, labels), and where the milliseconds went."""

    probabilities: np.ndarray
    tokens: int
    queue_ms: float
    tokenize_ms: float
    inference_ms: float


class Engine:
    """Runs a model in a thread of its own, so that the event loop stays free to accept and refuse.

    One thread: a session already uses all cores, and two runs at once would only share them.
    """

    def __init__(self, model: LoadedModel, settings: Settings):
        self.model = model
        self.waiting = 0
        self._settings = settings
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="inference")

    async def predict(self, texts: list[str]) -> Prediction:
        """Probabilities of ``texts`` in their order.

        Raises:
            Overloaded: too many texts wait already; decided at once, before any work.
            DeadlineExceeded: not done within the deadline. Work not begun by then is dropped.
            InferenceFailed: the model raised.
        """
        if self.waiting + len(texts) > self._settings.max_waiting_texts:
            raise Overloaded
        self.waiting += len(texts)
        future = self._executor.submit(self._run, texts, time.perf_counter())
        future.add_done_callback(self._release(len(texts), asyncio.get_running_loop()))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._settings.deadline)
        except TimeoutError:
            raise DeadlineExceeded from None
        except Exception as error:
            log.error("inference failed: %s", type(error).__name__)
            raise InferenceFailed from error

    def close(self) -> None:
        """Finish what has begun, drop the rest."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _release(self, count: int, loop: asyncio.AbstractEventLoop):
        def on_loop() -> None:
            self.waiting -= count

        # A caller that has left does not free its place until its work is done or dropped.
        return lambda _: None if loop.is_closed() else loop.call_soon_threadsafe(on_loop)

    def _run(self, texts: list[str], submitted: float) -> Prediction:
        started = time.perf_counter()
        rows = self.model.encode(texts)
        encoded = time.perf_counter()
        lengths = [len(row) for row in rows]
        batches = batching.by_tokens(lengths, self.model.manifest.recipe.token_budget)
        logits = batching.run(self.model.logits, rows, batches)
        done = time.perf_counter()
        return Prediction(
            probabilities=softmax(logits),
            tokens=sum(lengths),
            queue_ms=(started - submitted) * 1e3,
            tokenize_ms=(encoded - started) * 1e3,
            inference_ms=(done - encoded) * 1e3,
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis. Shifted by the largest logit, so that none overflows."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
