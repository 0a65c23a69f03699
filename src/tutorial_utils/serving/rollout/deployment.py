"""Switches versions without losing requests, tries them on a share, rolls back on failure.

All methods are called on the event loop, so a switch is one assignment between two requests. Slow
work (reading, verifying, opening and closing a version) runs in other threads.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence

from tutorial_utils import registry
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.registry import BadModel, LoadedModel
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.engine.failures import NoAnswer, Overloaded
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.rollout import traffic
from tutorial_utils.serving.rollout.shadow import Shadow
from tutorial_utils.serving.rollout.traffic import Candidate
from tutorial_utils.serving.settings import LATEST, Settings
from tutorial_utils.tasks import named

log = logging.getLogger(__name__)

CANARY_TIME = 0.5  # of a request's deadline is the canary's; the rest is for the stable version


class UnknownVersion(TutorialError, LookupError):
    """No such version runs here; the message names those that do."""


class NothingToDo(TutorialError, RuntimeError):
    """There is no candidate to promote, or no earlier version to go back to."""


class Deployment:
    """The stable version, maybe a candidate beside it, and the rules by which they change.

    taken_back: versions that failed here; only an operator can use them again.
    """

    def __init__(
        self,
        settings: Settings,
        model: LoadedModel,
        fallback: LoadedModel | None = None,
        metrics: Metrics | None = None,
    ):
        self.settings = settings
        self._engine_metrics = metrics or Metrics()
        self.metrics = traffic.TrafficMetrics(self._engine_metrics.registry)
        if fallback is not None:
            _check_callers(fallback, model)
        self.fallback = fallback
        self.stable = self._start(model)
        self.candidate: Candidate | None = None
        self._follows = settings.version == LATEST
        self._pinning = 0  # operators' pins whose version still loads
        self.taken_back: set[str] = set()
        self.shadow = Shadow(self.metrics, self._judge)
        self._previous: str | None = None
        self._draining: dict[Engine, asyncio.Task] = {}  # until they are closed
        self.changing = asyncio.Lock()
        self.metrics.draining.set_function(lambda: sum(e.waiting > 0 for e in [*self._draining]))
        self.metrics.roles(self.roles)

    @property
    def model(self) -> str:
        """The name under which all versions are in the registry."""
        return self.stable.model.manifest.name

    @property
    def follows(self) -> bool:
        """Does this follow the registry's newest version? False once an operator asks for a pin."""
        return self._follows and not self._pinning

    @property
    def _running(self) -> list[tuple[Engine, str]]:
        """The engines that take requests, and their roles."""
        running = [(self.stable, traffic.STABLE)]
        if self.candidate:
            running.append((self.candidate.engine, self.candidate.role))
        return running

    @property
    def roles(self) -> dict[str, str]:
        """version → role, of those that take requests."""
        return {engine.version: role for engine, role in self._running}

    def find(self, version: str | None = None) -> Engine:
        """The stable version, or a running one by its number.

        Raises:
            UnknownVersion: it does not run here.
        """
        for engine, _ in self._running:
            if version in (None, engine.version):
                return engine
        known = ", ".join(sorted(self.roles, key=int))
        raise UnknownVersion(f"no such version runs here; these do: {known}")

    def turn_away(self) -> Overloaded | None:
        """Why a request is refused unread: the queue is nearly full. Counts as a refused request.

        None while there is a candidate, which may have room.
        """
        return self.stable.turn_away() if self.candidate is None else None

    async def predict(
        self, texts: Sequence[Text], caller: str | None = None, version: str | None = None
    ) -> Prediction:
        """An answer from the given version, or from the one whose share ``caller`` is in.

        A caller without a name is assigned at random each time. If the canary does not answer in
        its part of the deadline, the stable version is asked in the time that is left, unless the
        caller named the canary's version.

        Raises:
            UnknownVersion: ``version`` does not run here.
            Overloaded, NoAnswer: as ``Engine.predict``.
        """
        if version:
            return await self._ask(self.find(version), texts)
        candidate, stable = self.candidate, self.stable
        name = caller if caller is not None else secrets.token_hex(16)
        if candidate and candidate.takes(name):
            return await self._try(candidate, texts)
        try:
            prediction = await self._ask(stable, texts)
        except NoAnswer:
            if candidate:
                candidate.trial.stable_answered(error=True)
            raise
        if candidate:
            candidate.trial.stable_answered(error=prediction.fallback)
        if self.candidate and stable is self.stable and not prediction.fallback:
            self.shadow.mirror(self.candidate, texts, prediction)
        return prediction

    async def switch(self, version: str = LATEST) -> None:
        """Load a version beside the stable one, then let it answer. The old one drains and closes.

        A number pins the version: newer ones are not used until a switch to ``latest``.

        Raises:
            BadModel: it is broken or not there; nothing has changed then.
        """
        pin = version != LATEST
        self._pinning += pin  # at once: do not use what the watcher is loading now
        try:
            async with self.changing:
                self.place(await self.load(version))
                self._follows = not pin
        finally:
            self._pinning -= pin
        state = "pinned" if pin else "followed by the registry's newer ones"
        log.info("version %s answers and is %s", self.stable.version, state)

    async def try_out(self, version: str, share: float, shadow: float) -> None:
        """Put a version on trial. It replaces an earlier candidate.

        Raises:
            BadModel: it is broken or not there.
            NothingToDo: it is the stable version, or both shares are 0.
        """
        if not (share or shadow):
            raise NothingToDo("a candidate needs a share of the callers or of the answers")
        async with self.changing:
            self.place(await self.load(version), share, shadow, by_hand=True)

    async def promote(self) -> None:
        """Make the candidate the stable version.

        Raises:
            NothingToDo: there is no candidate.
        """
        async with self.changing:
            if self.candidate is None:
                raise NothingToDo("there is no candidate to promote")
            self._change(self.candidate.engine)

    async def roll_back(self) -> None:
        """End the candidate's trial; without one, go back to the stable version before this one.

        Raises:
            NothingToDo: there is neither.
            BadModel: the earlier version cannot be loaded any more.
        """
        async with self.changing:
            if self.candidate:
                return self.take_back(traffic.BY_HAND)
            if self._previous is None:
                raise NothingToDo("there is no earlier version to go back to")
            failed = self.stable.version
            self.place(await self.load(self._previous))
            self._previous = None
            self._note_taken_back(failed, traffic.BY_HAND)

    def place(
        self, model: LoadedModel, share: float = 0.0, shadow: float = 0.0, by_hand: bool = False
    ) -> None:
        """Let a loaded model answer all requests or, on trial, those of its share of callers.

        Hold ``changing`` from the loading of the model until this returns.

        Raises:
            NothingToDo: a trial of the stable version.
            BadModel: callers of the stable version would be refused.
        """
        _check_callers(model, self.stable.model)
        on_trial = share > 0 or shadow > 0
        if model.manifest.version == self.stable.version:
            if on_trial:
                raise NothingToDo("this version is the stable one")
            return
        if self.candidate and self.candidate.engine.model is model:
            engine = self.candidate.engine
        else:
            engine = self._start(model)
        if not on_trial:
            return self._change(engine)
        trial = traffic.Trial(self.settings.max_errors, self.settings.min_agreement)
        salt = f"{self.settings.salt}:{engine.version}"
        self._change(self.stable, Candidate(engine, trial, share, shadow, salt, by_hand))
        log.info("version %s is a candidate", engine.version)

    def take_back(self, reason: str) -> None:
        """End the trial of the candidate. reason: as the metrics name it."""
        assert self.candidate
        failed = self.candidate.engine.version
        self._change(self.stable)
        self._note_taken_back(failed, reason)

    async def close(self) -> None:
        """Finish the batches that have begun, fail the rest, and close every engine."""
        await self.shadow.close()
        for task in self._draining.values():
            task.cancel()
        engines = [*(engine for engine, _ in self._running), *self._draining]
        await asyncio.gather(*(asyncio.to_thread(engine.close) for engine in engines))

    async def _try(self, candidate: Candidate, texts: Sequence[Text]) -> Prediction:
        """An answer of the canary, or of the stable version in the time that is left."""
        end = time.monotonic() + self.settings.deadline
        try:
            part = CANARY_TIME * self.settings.deadline
            prediction = await self._ask(candidate.engine, texts, part)
        except (NoAnswer, Overloaded) as error:
            at_fault = isinstance(error, NoAnswer)  # a busy machine is no fault of the version's
            try:
                prediction = await self._ask(self.stable, texts, end - time.monotonic())
            except NoAnswer:
                if at_fault:
                    self._judge(candidate, error=True, by_both=True)
                raise
            if at_fault:
                self._judge(candidate, error=True)
        else:
            self._judge(candidate, error=prediction.fallback)
        return prediction

    async def _ask(
        self, engine: Engine, texts: Sequence[Text], deadline: float | None = None
    ) -> Prediction:
        labels = engine.version, self.roles[engine.version]
        try:
            prediction = await engine.predict(texts, deadline)
        except NoAnswer:
            self.metrics.errors.labels(*labels).inc()
            raise
        self.metrics.answers.labels(*labels).inc()
        return prediction

    def _judge(
        self, candidate: Candidate, error: bool, agrees: Sequence[bool] = (), by_both: bool = False
    ) -> None:
        """Count an answer of the candidate, and end its trial if it has proved to be worse.

        agrees: which of its texts both versions answer alike. by_both: the stable version failed
        them too.
        """
        if candidate is not self.candidate:  # its trial has ended
            return
        candidate.trial.answered(error, by_both)
        candidate.trial.compared(agrees)
        if agrees and self.stable.observer:
            self.stable.observer.disagreed([not same for same in agrees])
        if reason := candidate.trial.verdict():
            self.take_back(reason)

    def _change(self, stable: Engine, candidate: Candidate | None = None) -> None:
        """Let these take the requests from now on. Engines that no longer do are drained."""
        before, old = self._running, self.stable
        self.stable, self.candidate = stable, candidate
        running = [engine for engine, _ in self._running]
        for engine, _ in before:
            if engine not in running:
                self._draining[engine] = asyncio.create_task(self._drain(engine))
        self.metrics.roles(self.roles)
        if stable is not old:
            self._previous = old.version
            self.taken_back.discard(stable.version)
            log.info("version %s replaces %s", stable.version, old.version)

    async def _drain(self, engine: Engine) -> None:
        await engine.drain()
        del self._draining[engine]

    def _note_taken_back(self, version: str, reason: str) -> None:
        self.taken_back.add(version)
        self.metrics.roll_backs.labels(version, reason).inc()
        log.error("version %s was rolled back: %s", version, reason)

    def _start(self, model: LoadedModel) -> Engine:
        fallback = self.fallback
        if fallback is not None and fallback.manifest.version == model.manifest.version:
            fallback = None
        return Engine(model, self.settings, fallback, self._engine_metrics)

    async def load(self, version: str) -> LoadedModel:
        """The candidate's model if it is that version, else one read from the registry.

        Raises:
            BadModel: it is broken or not there, or callers of the stable version would be refused.
        """
        if self.candidate and version == self.candidate.engine.version:
            return self.candidate.engine.model
        given = self.settings
        wanted = given.registry, self.model, version
        try:
            model = await asyncio.to_thread(registry.load, *wanted, gpu_memory=given.gpu_memory)
            _check_callers(model, self.stable.model)
        except BadModel:
            self.metrics.loads.labels("refused").inc()
            raise
        self.metrics.loads.labels("loaded").inc()
        return model


def _check_callers(model: LoadedModel, used: LoadedModel) -> None:
    """Can ``model`` answer the callers of the version in use?

    Raises:
        BadModel: it reads pairs and the other one single texts, or one of them gives vectors.
    """
    kind, expected = (
        f"reads a {m.manifest.reads} at a time and answers at {named(m.manifest.task).route}"
        for m in (model, used)
    )
    if kind != expected:
        raise BadModel(
            f"{model.manifest} {kind}, but {used.manifest}, the version in use, {expected}: its "
            "callers would be refused. Serve it under another name."
        )
