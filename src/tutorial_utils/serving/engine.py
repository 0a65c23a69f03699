"""From texts to probabilities, off the event loop, bounded in waiting texts and in time.

A request's way: a place at the door (``batcher``), the tokenizer, the queue, a batch in the
worker's thread (``worker``), and back. A few sentences are tokenized at once, on the event loop, in
less time than it takes to wake a thread for them; more goes to the tokenizer's thread.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from tutorial_utils.quality import probabilities, softmax
from tutorial_utils.serving.batcher import Batcher
from tutorial_utils.serving.breaker import Breaker
from tutorial_utils.serving.metrics import Metrics
from tutorial_utils.serving.observer import Observer
from tutorial_utils.serving.registry import LoadedModel
from tutorial_utils.serving.request import (
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    Prediction,
    Request,
    Unavailable,
)
from tutorial_utils.serving.settings import Settings
from tutorial_utils.serving.supervisor import Supervisor
from tutorial_utils.serving.worker import PROBE, Lane

__all__ = [
    "DeadlineExceeded",
    "Engine",
    "InferenceFailed",
    "Overloaded",
    "Prediction",
    "Unavailable",
    "probabilities",
    "softmax",
]

log = logging.getLogger(__name__)

FRESH = 1.0  # seconds for which an answer shows that the engine is well
FEW = 600  # characters that are tokenized at once: some tenths of a millisecond


class Engine:
    """One version of a model, and perhaps another that answers when it cannot.

    One worker: a session already uses all cores, and two runs at once would only share them.
    fallback: the model on another provider, or another version. metrics: where to count; an
    engine without them counts for itself. observer: watches for drift, if the model has a profile.
    """

    def __init__(
        self,
        model: LoadedModel,
        settings: Settings,
        fallback: LoadedModel | None = None,
        metrics: Metrics | None = None,
    ):
        self.model = model
        self._settings = settings
        wanted = model.manifest.recipe
        self._batcher = Batcher(
            settings.max_waiting_texts,
            wanted.token_budget,
            settings.max_age,
            longest=wanted.max_length,
        )
        self.lanes = [
            Lane(lane, Breaker(settings.breaker_failures, settings.breaker_cooldown), bool(i))
            for i, lane in enumerate([model, fallback])
            if lane is not None
        ]
        metrics = metrics or Metrics()
        name = model.manifest.name, model.manifest.version
        profile = getattr(model, "profile", None)  # what stands in for a model has none
        self.observer = Observer(profile, metrics.drift, name) if profile else None
        self.metrics = metrics.of(self)
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._supervisor = Supervisor(self._batcher, self.lanes, self.metrics, settings.hang_after)
        self._supervisor.start()

    @property
    def waiting(self) -> int:
        """Texts that are admitted and not answered, dropped or failed yet."""
        return self._batcher.waiting

    @property
    def queued(self) -> tuple[int, int]:
        """Texts and tokens that are tokenized and not in a batch yet."""
        return self._batcher.queued

    def ready(self) -> bool:
        """Is there a live worker, and a model that it may ask? Costs nothing; see ``probe``."""
        return self._supervisor.ready()

    def turn_away(self) -> None:
        """Raise what ``predict`` would raise now, before any text is read.

        Raises:
            Overloaded: there is next to no room; counted as a refused request.
        """
        if refusal := self._batcher.full(self._settings.deadline):
            with self.metrics.outcome():
                raise refusal

    async def predict(self, texts: list[str]) -> Prediction:
        """Probabilities of ``texts`` in their order, all by one model.

        Raises:
            Overloaded: too many texts wait already; decided at once, before any work.
            DeadlineExceeded: not done within the deadline. Work not begun by then is dropped.
            InferenceFailed: the model raised (the log says what), or no model may be asked.
        """
        with self.metrics.outcome():
            request = self._enter(texts)
            try:
                async with asyncio.timeout(self._settings.deadline):
                    return await asyncio.wrap_future(request.future)
            except TimeoutError:
                raise DeadlineExceeded from None

    async def probe(self) -> None:
        """Ask the model something through the whole engine; raises what ``predict`` raises.

        Under load the load is the probe: a full queue must not take a service that answers out of
        its balancer, whose other services would be the next to fill up.

        Raises:
            Unavailable: the engine knows already that it is not ready.
        """
        if not self.ready():
            raise Unavailable
        if time.perf_counter() - self._supervisor.worker.answered > FRESH:
            await self.predict([PROBE])

    async def drain(self) -> None:
        """Wait until all that was admitted is answered, as long as the deadline at most; close."""
        end = time.monotonic() + self._settings.deadline
        while self.waiting and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Finish the batch that has begun, fail the rest; once is enough, twice is harmless."""
        self._supervisor.stop(self._settings.deadline)
        self._tokenizing.shutdown()
        if self.observer:
            self.observer.close()
        self.metrics.close()

    def _enter(self, texts: list[str]) -> Request:
        """A place for each text, or a refusal; then they are tokenized, here or in a thread."""
        request = Request(texts, self._settings.deadline)
        self._batcher.admit(request)
        # Texts in nobody's hands give their places back at once when the future ends, however.
        request.future.add_done_callback(lambda _: self._batcher.drop(request))
        if self.observer and texts != [PROBE]:
            request.future.add_done_callback(lambda _: self._watch(request))
        if sum(map(len, texts)) <= FEW:
            self._tokenize(request)
            return request
        try:
            self._tokenizing.submit(self._tokenize, request)
        except RuntimeError:  # closed since
            self._batcher.release(request.items)
            raise Unavailable from None
        return request

    def _watch(self, request: Request) -> None:
        """Show the observer what this model answered; a fallback has a profile of its own."""
        future = request.future
        if not (future.cancelled() or future.exception() or future.result().fallback):
            rows = [item.row for item in request.items]
            self.observer.saw(rows, future.result().probabilities)

    def _tokenize(self, request: Request) -> None:
        if not (request.future.done() or self._batcher.closed):
            began = time.perf_counter()
            try:
                rows = self.model.encode([item.text for item in request.items])
                request.read(rows, time.perf_counter() - began)
            except BaseException as error:  # a panic of the tokenizer's is not an Exception
                log.error("tokenizing failed: %s", type(error).__name__)
                request.fail(InferenceFailed("the tokenizer raised"))
        self._batcher.put(request)
