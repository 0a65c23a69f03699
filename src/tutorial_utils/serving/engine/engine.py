"""From texts to probabilities, off the event loop, with limits on waiting texts and on time.

A request is admitted to the queue (``batcher``). The worker's thread (``worker``) tokenizes it,
puts its texts into batches, runs the model, and resolves the request's future.
"""

import asyncio
import time
from collections.abc import Sequence

from tutorial_utils.registry import LoadedModel
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.serving.engine import failures
from tutorial_utils.serving.engine.backend import Backend, probe
from tutorial_utils.serving.engine.batcher import Batcher
from tutorial_utils.serving.engine.breaker import Breaker
from tutorial_utils.serving.engine.metrics import EngineMetrics, Metrics
from tutorial_utils.serving.engine.observer import Observer
from tutorial_utils.serving.engine.policy import RUN_COSTS, BatchingPolicy, TokenBudget
from tutorial_utils.serving.engine.request import Prediction, Request
from tutorial_utils.serving.engine.supervisor import Supervisor
from tutorial_utils.serving.settings import Settings

FRESH = 1.0  # seconds for which an answer shows that the engine is well


class Engine:
    """One version of a model, and maybe a fallback that answers if it fails.

    One worker: a session already uses all cores, and two runs at once would only share them.
    fallback: a second version. If the model runs on another device, its own CPU form comes before
    the fallback. metrics: where to count; an engine without them counts for itself. policy: how to
    batch; by default ``TokenBudget`` with the recipe's budget. observer: watches for drift, if the
    model has a profile.
    """

    def __init__(
        self,
        model: LoadedModel,
        settings: Settings,
        fallback: LoadedModel | None = None,
        metrics: Metrics | None = None,
        policy: BatchingPolicy | None = None,
    ):
        self.model = model
        self._settings = settings
        wanted = model.recipe
        run_cost = RUN_COSTS.get(wanted.session.provider, RUN_COSTS["cpu"])
        self._batcher = Batcher(
            settings.max_waiting_texts,
            wanted.token_budget,
            settings.max_age,
            longest=wanted.max_length,
            policy=policy or TokenBudget(wanted.token_budget, settings.max_age, run_cost),
        )
        self.backends = [
            Backend(each, Breaker(settings.breaker_failures, settings.breaker_cooldown), i > 0)
            for i, each in enumerate([model, getattr(model, "spare", None), fallback])
            if each is not None
        ]
        metrics = metrics or Metrics()
        name = model.manifest.name, model.manifest.version
        profile = getattr(model, "profile", None)  # what stands in for a model has none
        self.observer = Observer(profile, metrics, name) if profile else None
        self.metrics = EngineMetrics(metrics, self)
        given = self._batcher, self.backends, self.metrics
        self._supervisor = Supervisor(*given, settings.hang_after)
        self._supervisor.start()

    @property
    def version(self) -> str:
        return self.model.manifest.version

    @property
    def waiting(self) -> int:
        """Texts that were admitted, and have not been answered, dropped or failed."""
        return self._batcher.waiting

    @property
    def queued(self) -> tuple[int, int]:
        """Texts that are not in a batch yet, and roughly how many tokens they have."""
        return self._batcher.queued

    @property
    def answering(self) -> Backend | None:
        """What answers now: the model, or its fallback while the model's breaker is not closed."""
        return next((backend for backend in self.backends if backend.breaker.closed), None)

    def ready(self) -> bool:
        """Is there a live worker, and a model it may use? This costs nothing; see ``probe``."""
        return self._supervisor.ready()

    def turn_away(self) -> failures.Overloaded | None:
        """What ``predict`` would raise now, before any text is read; counted as a refused request.

        None while there is enough room.
        """
        refusal = self._batcher.full(self._settings.deadline)
        if refusal:
            self.metrics.unanswered(refusal)
        return refusal

    async def predict(self, texts: Sequence[Text], deadline: float | None = None) -> Prediction:
        """Probabilities of ``texts`` in their order, all by one model.

        deadline: seconds for the answer, if not those of the settings.

        Raises:
            WrongKind: the model reads single texts, and this is a pair, or the other way round.
            Overloaded: too many texts are waiting; decided at once, before any work.
            DeadlineExceeded: not done within the deadline. Work that has not begun is dropped.
            InferenceFailed: the model raised (the log says what), or all breakers are open.
        """
        reads = self.model.manifest.reads
        if any(isinstance(text, tuple) != (reads == "pair") for text in texts):
            told = "pairs: send each as [first, second]" if reads == "pair" else "single texts"
            raise failures.WrongKind(f"this model reads {told}")
        seconds = self._settings.deadline if deadline is None else deadline
        request = Request(texts, seconds)
        # First of the callbacks, since the caller waits for it: wake this coroutine.
        answer = asyncio.wrap_future(request.future)
        # However the future ends, texts that no worker has taken give their places back.
        request.future.add_done_callback(lambda _: self._batcher.drop(request))
        if texts != [probe(self.model.manifest)]:
            request.future.add_done_callback(lambda _: self._watch(request))
        late = failures.DeadlineExceeded()
        timer = asyncio.get_running_loop().call_later(seconds, request.fail, late)
        with self.metrics.outcome():
            try:
                # Last: it wakes the worker, which needs the interpreter lock that `await` releases.
                self._batcher.admit(request)
                return await answer
            finally:
                timer.cancel()
                request.future.cancel()  # the caller has left, if it is not answered

    async def probe(self) -> None:
        """Send a probe through the whole engine; raises what ``predict`` raises.

        Under load, the load itself is the probe. A full queue must not take a service that answers
        out of its load balancer, because the other services would fill up next.

        Raises:
            Unavailable: the engine knows already that it is not ready.
        """
        if not self.ready():
            raise failures.Unavailable
        if time.perf_counter() - self._supervisor.worker.answered > FRESH:
            await self.predict([probe(self.model.manifest)])

    async def drain(self) -> None:
        """Wait until all that was admitted is answered, as long as the deadline at most; close."""
        end = time.monotonic() + self._settings.deadline
        while self.waiting and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Finish the batch that has begun, and fail the rest. Calling it twice is harmless."""
        self._supervisor.stop(self._settings.deadline)
        if self.observer:
            self.observer.close()
        self.metrics.close()

    def _watch(self, request: Request) -> None:
        """Show the observer what this model answered; a fallback has a profile of its own."""
        future = request.future
        answered = not (future.cancelled() or future.exception())
        if self.observer and answered and not future.result().fallback:
            rows = [item.row for item in request.items]
            self.observer.saw(rows, future.result().probabilities)
