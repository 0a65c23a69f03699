"""The thread that runs the model: whatever a batch does, each text of it gets what it deserves.

A batch that fails is halved, and the halves are tried: one that was too large for the memory fits
then, and a text that breaks the model is found, so that exactly its caller fails. Alone at last,
the question is whether the text is at fault or the model. So the model is asked something harmless:
if it answers, the text was poison; if not, the model's breaker hears of it, and the next model is
asked in its place.
"""

import logging
import threading
import time
from collections.abc import Sequence

import numpy as np

from tutorial_utils.registry import LoadedModel
from tutorial_utils.runtime import batching
from tutorial_utils.serving.engine.batcher import Batcher
from tutorial_utils.serving.engine.breaker import Breaker
from tutorial_utils.serving.engine.metrics import EngineMetrics
from tutorial_utils.serving.engine.request import InferenceFailed, Item, Request, Unavailable

log = logging.getLogger(__name__)

PROBE = "Is the model well?"


class Backend:
    """A model and its circuit breaker."""

    def __init__(self, model: LoadedModel, breaker: Breaker, fallback: bool = False):
        self.model, self.breaker, self.fallback = model, breaker, fallback

    def read(self, items: Sequence[Item]) -> list[list[int]]:
        """Token ids, by this model's own tokenizer: a fallback's may differ from the first's."""
        if self.fallback:
            return self.model.encode([item.text for item in items])
        return [item.row for item in items]

    def logits(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """float32 (rows, labels).

        Raises:
            ValueError: the model gave something other than one finite row for each.
        """
        logits = self.model.logits(batching.pad(rows, padding=self.model.recipe.padding))
        if len(logits) != len(rows) or not np.isfinite(logits).all():
            raise ValueError("the logits are not finite, or not one row for each text")
        return logits

    def well(self) -> bool:
        """Does the model answer a harmless question?"""
        try:
            self.logits(self.model.encode([PROBE]))
        except Exception as error:
            log.error("the model is not well: %s", type(error).__name__)
            return False
        return True


class Abandoned(BaseException):
    """Ends a worker that was replaced while it was stuck: it must touch nothing more.

    No ``Exception``, so that what handles a failing model lets it pass.
    """


class Worker(threading.Thread):
    """Takes batches and answers them, until the batcher is closed or the supervisor abandons it.

    proven: it has got an answer from a model. A worker that replaces another asks for one before
    it touches callers' texts. answered: when it last got one (``time.perf_counter``).
    """

    def __init__(
        self,
        batcher: Batcher,
        backends: Sequence[Backend],
        metrics: EngineMetrics,
        proven: bool = False,
    ):
        super().__init__(name="inference", daemon=True)
        self.proven, self.backend = proven, backends[0]
        self.answered = float("-inf")
        self.batch: list[Item] = []  # in its hands
        self._free = time.perf_counter()  # when the last step ended
        self._read = 0  # tokens of this batch that a model has read, padding aside
        self._batcher, self._backends, self._metrics = batcher, backends, metrics
        self._lock = threading.Lock()
        self._since: float | None = None  # when the run that is going on began
        self._abandoned = False

    def run(self) -> None:
        try:
            self._prove()
            while self.step():
                pass
        except Abandoned:
            pass
        except BaseException as error:  # the supervisor sees a dead thread; texts stay out of logs
            log.error("the worker dies of %s", type(error).__name__)

    def step(self) -> bool:
        """Wait for a batch and answer it; False when the batcher is closed."""
        batch = self._batcher.take(self._tokenize)
        if batch is None:
            return False
        self.batch, self._read = batch, 0
        self.answer(batch, self._backends)
        self._batcher.release(batch)
        self.batch = []
        # All the time that there was work, not that of the runs alone: waiting for the
        # interpreter is part of it, and a loop that refuses many holds it often.
        now = time.perf_counter()
        self._batcher.took(self._read, now - max(self._free, self._batcher.work_since))
        self._free = now
        return True

    def _tokenize(self, request: Request) -> None:
        """Token ids of a request's texts, watched by the supervisor as a run of the model is."""
        backend = self._backends[0]
        self.batch = request.items
        self._begin(backend)
        request.read(backend.model.encode)
        self._end()
        self.batch = []

    def _prove(self) -> None:
        """Get an answer from the first model that gives one, until there is none to ask."""
        while not self.proven and not self._batcher.closed:
            backend = next((backend for backend in self._backends if backend.breaker.closed), None)
            if backend is None:
                return
            self._begin(backend)
            well = backend.well()
            self._end()
            (backend.breaker.success if well else backend.breaker.failure)()
            self.proven = well

    def give_up_if_stuck(self, seconds: float) -> bool:
        """Abandon the worker if its tokenizer or model takes longer; its late result is dropped."""
        with self._lock:
            since = self._since
            stuck = since is not None and time.perf_counter() - since > seconds
            self._abandoned = self._abandoned or stuck
            return stuck

    def answer(self, items: Sequence[Item], backends: Sequence[Backend]) -> None:
        """Answer each text by the first backend that may be asked, or fail its request."""
        items = [item for item in items if not item.request.future.done()]
        backends = [backend for backend in backends if backend.breaker.closed]
        if not items:
            return
        if not backends:
            for item in items:
                item.request.fail(Unavailable())
            return
        backend = backends[0]
        try:
            rows, logits = self._forward(backend, items)
        except Exception as error:
            self._halve(items, backends, error)
            return
        backend.breaker.success()
        self.proven, self.answered = True, time.perf_counter()
        self._deliver(backend, items, logits)
        # Counted last: the callers need not wait for it.
        lengths = [len(row) for row in rows]
        self._read += sum(lengths)
        self._metrics.batch(len(rows), sum(lengths), max(lengths) * len(rows))

    def _forward(
        self, backend: Backend, items: Sequence[Item]
    ) -> tuple[Sequence[Sequence[int]], np.ndarray]:
        """Token ids of each text, and logits, float32 (items, labels)."""
        began = time.perf_counter()
        for item in items:
            if item.request.begun is None:
                item.request.begun = began
        self._begin(backend)
        try:
            rows = backend.read(items)
            logits = backend.logits(rows)
        finally:
            self._end()
        return rows, logits

    def _halve(self, items: list[Item], backends: list[Backend], error: Exception) -> None:
        if is_allocation_failure(error):
            self._metrics.allocation_failures.inc()
        if len(items) > 1:
            middle = len(items) // 2
            self.answer(items[:middle], backends)
            self.answer(items[middle:], backends)
            return
        log.error("inference failed: %s", type(error).__name__)
        backend, others = backends[0], backends[1:]
        self._begin(backend)
        well = backend.well()
        self._end()
        if well:
            self._metrics.poison.inc()
        else:
            backend.breaker.failure()
            if any(other.breaker.closed for other in others):
                self.answer(items, others)
                return
        items[0].request.fail(InferenceFailed("the model raised"))

    def _deliver(self, backend: Backend, items: Sequence[Item], logits: np.ndarray) -> None:
        self._batcher.release(items)  # before the answer: whoever has it finds the place free
        mixed = {}
        for item, row in zip(items, logits, strict=True):
            request = item.request
            if request.backend not in (
                None,
                backend,
            ):  # one request, one model: begin anew with this one
                request.answers.clear()
                mixed[request] = None
            request.backend = backend
            request.answer(item, row)
        for request in mixed:
            missing = [item for item in request.items if item not in request.answers]
            self.answer(missing, [backend])

    def _begin(self, backend: Backend) -> None:
        with self._lock:
            self.backend, self._since = backend, time.perf_counter()

    def _end(self) -> None:
        """Raises: Abandoned: the worker was replaced during the run that ends here."""
        with self._lock:
            self._since = None
            if self._abandoned:
                raise Abandoned


def is_allocation_failure(error: Exception) -> bool:
    """Did the memory not suffice? ONNX Runtime has no error type for it, only words."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in words for sign in ("failed to allocate", "out of memory", "bad_alloc")
    )
