"""The supervisor replaces a dead or stuck worker, and tries models whose breaker is open.

A thread that hangs in native code cannot be stopped. It is abandoned instead: its callers fail, its
model's breaker opens, another thread takes over, and a late result of the old one is ignored. A
breaker lets one trial run at a time, in its own thread. So a model that hangs for good holds at
most two threads, and no caller waits for a trial.
"""

import logging
import threading

from tutorial_utils.serving.engine.backend import Backend, Backends
from tutorial_utils.serving.engine.batcher import Batcher
from tutorial_utils.serving.engine.failures import InferenceFailed
from tutorial_utils.serving.engine.metrics import EngineMetrics
from tutorial_utils.serving.engine.worker import Worker

log = logging.getLogger(__name__)

TICK = 0.05  # seconds between two looks


class Supervisor(threading.Thread):
    """Keeps one worker running. ``hang_after``: seconds that one run of a model may take."""

    def __init__(
        self, batcher: Batcher, backends: Backends, metrics: EngineMetrics, hang_after: float
    ):
        super().__init__(name="supervisor", daemon=True)
        self._batcher, self._backends, self._metrics = batcher, backends, metrics
        self._hang_after = hang_after
        self._stopped = threading.Event()
        self.worker = Worker(batcher, backends, metrics, proven=True)

    def start(self) -> None:
        self.worker.start()
        super().start()

    def ready(self) -> bool:
        """Is there a live worker that has had an answer, and a model it may use?"""
        may_ask = any(backend.breaker.closed for backend in self._backends)
        return self.worker.is_alive() and self.worker.proven and may_ask

    def run(self) -> None:
        while not self._stopped.wait(TICK):
            try:
                self.look()
            except Exception as error:  # nothing else would restart the supervisor
                log.error("the supervisor met an error: %s", type(error).__name__)

    def look(self) -> None:
        """Replace the worker if it is dead or stuck; try the models whose cooldown is over."""
        if not self.worker.is_alive():
            if self._stopped.is_set():  # it ended as it was told to
                return
            self.worker.backend.breaker.failure()
            self._replace("died")
        elif self.worker.give_up_if_stuck(self._hang_after):
            self.worker.backend.breaker.trip()
            self._replace("hung")
        for backend in self._backends:
            if backend.breaker.admit_probe():
                threading.Thread(
                    target=self._try, args=(backend,), name="trial", daemon=True
                ).start()

    def stop(self, timeout: float) -> None:
        """End the worker after its batch; wait for that at most ``timeout`` seconds."""
        self._stopped.set()
        self._batcher.close()
        self.join(timeout)
        self.worker.join(timeout)
        if self.worker.is_alive():
            self._fail(self.worker)

    def _replace(self, reason: str) -> None:
        log.error("the worker %s; another takes over", reason)
        self._metrics.restarted(reason)
        old, self.worker = self.worker, Worker(self._batcher, self._backends, self._metrics)
        self._fail(old)
        self.worker.start()

    def _fail(self, worker: Worker) -> None:
        for item in worker.batch:
            item.request.fail(InferenceFailed("the worker is gone"))
        self._batcher.release(worker.batch)

    def _try(self, backend: Backend) -> None:
        well = False
        try:
            well = backend.well()
        finally:  # whatever the model raises: a breaker without a report would stay half-open
            (backend.breaker.success if well else backend.breaker.failure)()
        if well:
            self.worker.proven = True
