"""The thread that runs the model, and what happens to a batch that fails.

A batch that fails is halved, and each half is tried. If the batch was too large for memory, a half
fits. If one text breaks the model, we find it, and only its caller fails. If a single text fails,
either the text or the model is at fault. So we send the model a harmless input. If it answers, the
text is at fault. If not, its breaker counts a failure, and the next backend gets the text.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from tutorial_utils.runtime.memory import is_allocation_failure
from tutorial_utils.serving.engine.backend import Backend, Backends, kind
from tutorial_utils.serving.engine.batcher import Batcher
from tutorial_utils.serving.engine.failures import InferenceFailed, Unavailable
from tutorial_utils.serving.engine.metrics import EngineMetrics
from tutorial_utils.serving.engine.request import Item, Request

log = logging.getLogger(__name__)


class Abandoned(BaseException):
    """Ends a worker that was replaced while it was stuck; it must not touch anything any more.

    Not an ``Exception``, so that code that handles a failing model lets it through.
    """


class Worker(threading.Thread):
    """Takes batches and answers them, until the batcher is closed or the supervisor abandons it.

    proven: it has got an answer from a model. A worker that replaces another one gets an answer
    first, before it touches callers' texts. answered: when it last got one (``time.perf_counter``).
    """

    def __init__(
        self, batcher: Batcher, backends: Backends, metrics: EngineMetrics, proven: bool = False
    ):
        super().__init__(name="inference", daemon=True)
        self.proven, self.backend = proven, backends[0]
        self.answered = float("-inf")
        self.batch: list[Item] = []  # taken, and not answered yet
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
            log.error("the worker dies of %s", kind(error))

    def step(self) -> bool:
        """Wait for a batch and answer it; False when the batcher is closed."""
        batch = self._batcher.take(self._tokenize)
        if batch is None:
            return False
        self.batch, self._read = batch, 0
        self.answer(batch, self._backends)
        self._batcher.release(batch)
        self.batch = []
        # All the time in which there was work, not only the runs: waiting for the interpreter
        # lock is part of it, and an event loop that refuses many requests often holds it.
        now = time.perf_counter()
        self._batcher.took(self._read, now - max(self._free, self._batcher.work_since))
        self._free = now
        return True

    def _tokenize(self, request: Request) -> None:
        """Token ids of a request's texts, watched by the supervisor as a run of the model is."""
        backend = self._backends[0]
        self.batch = request.items
        with self._watched(backend):
            request.read(backend.model.encode)
        self.batch = []

    def _prove(self) -> None:
        """Get an answer from the first model that gives one, until there is none left."""
        while not self.proven and not self._batcher.closed:
            backend = next((each for each in self._backends if each.breaker.closed), None)
            if backend is None:
                return
            with self._watched(backend):
                self.proven = backend.well()
            # Here a worker that dies or hangs has not counted: the supervisor does that.
            (backend.breaker.success if self.proven else backend.breaker.failure)()

    def give_up_if_stuck(self, seconds: float) -> bool:
        """Abandon the worker if its tokenizer or model takes longer; its late result is dropped."""
        with self._lock:
            since = self._since
            stuck = since is not None and time.perf_counter() - since > seconds
            self._abandoned = self._abandoned or stuck
            return stuck

    def answer(self, items: Sequence[Item], backends: Backends) -> None:
        """Answer each text with the first backend whose breaker is closed, or fail its request."""
        items = [item for item in items if not item.request.future.done()]
        backends = [backend for backend in backends if backend.breaker.closed]
        if not items:
            return
        if not backends:
            for item in items:
                item.request.fail(Unavailable())
            return
        backend = backends[0]
        if len(items) > 1 and backend.too_many([item.row for item in items]):
            self._halve(items, backends)
            return
        began = time.perf_counter()
        for item in items:
            item.request.begun = min(item.request.begun, began)
        try:
            with self._watched(backend):
                rows = [item.row for item in items]
                if backend.fallback:  # it reads with a tokenizer of its own
                    rows = backend.model.encode([item.text for item in items])
                logits = backend.logits(rows)
        except Exception as error:
            self._failed(items, backends, error)
            return
        backend.breaker.success()
        self.proven, self.answered = True, time.perf_counter()
        for item, read in zip(items, rows, strict=True):
            item.cut = getattr(read, "cut", False)
        self._deliver(backend, items, logits)
        # Counted last: the callers need not wait for it.
        lengths = [len(row) for row in rows]
        self._read += sum(lengths)
        self._metrics.batch(len(rows), sum(lengths), max(lengths) * len(rows))

    def _halve(self, items: list[Item], backends: list[Backend]) -> None:
        middle = len(items) // 2
        self.answer(items[:middle], backends)
        self.answer(items[middle:], backends)

    def _failed(self, items: list[Item], backends: list[Backend], error: Exception) -> None:
        if is_allocation_failure(error):
            self._metrics.allocation_failures.inc()
        if len(items) > 1:
            self._halve(items, backends)
            return
        log.error("inference failed: %s", kind(error))
        backend, others = backends[0], backends[1:]
        with self._watched(backend):
            well = backend.well()
        if well:
            self._metrics.poison.inc()
        else:
            backend.breaker.failure()
            if any(other.breaker.closed for other in others):
                self.answer(items, others)
                return
        items[0].request.fail(InferenceFailed("the model raised"))

    def _deliver(self, backend: Backend, items: Sequence[Item], logits: np.ndarray) -> None:
        self._batcher.release(items)  # before the answer, so that its caller finds the place free
        # One model answers a request: texts that another one has answered are run again.
        changed = {i.request for i in items if i.request.backend not in (None, backend)}
        for item, row in zip(items, logits, strict=True):
            item.request.answer(item, row, backend)
        for request in changed:
            missing = [item for item in request.items if item not in request.answers]
            self.answer(missing, [backend])

    @contextmanager
    def _watched(self, backend: Backend) -> Iterator[None]:
        """Let the supervisor see a run of the model or its tokenizer, and how long it takes.

        Raises:
            Abandoned: the worker was replaced during the run that ends here.
        """
        with self._lock:
            self.backend, self._since = backend, time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._since = None
                if self._abandoned:
                    raise Abandoned
