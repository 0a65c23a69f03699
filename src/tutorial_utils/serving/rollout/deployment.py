"""The running versions: switched without losing requests, tried on a share, rolled back on failure.

All methods are called on the event loop, so a switch is one assignment between two requests. What
takes long (reading, verifying, opening and closing a version) runs in other threads.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tutorial_utils import registry
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.registry import BadModel, LoadedModel
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.engine.request import NoAnswer, Overloaded, Prediction
from tutorial_utils.serving.rollout import traffic
from tutorial_utils.serving.rollout.running import Running
from tutorial_utils.serving.rollout.shadow import Shadow
from tutorial_utils.serving.settings import LATEST, Settings

log = logging.getLogger(__name__)

CANARY_TIME = 0.5  # of a request's deadline is the canary's; the rest is for the stable version


class UnknownVersion(TutorialError, LookupError):
    """No such version runs here; the message names those that do."""


class NothingToDo(TutorialError, RuntimeError):
    """There is no candidate to promote, or no earlier version to go back to."""


@dataclass(frozen=True)
class Candidate:
    """A version on trial."""

    running: Running
    split: traffic.Split
    trial: traffic.Trial
    by_hand: bool  # an operator began the trial, not the registry's watcher

    @property
    def role(self) -> str:
        return traffic.CANARY if self.split.share > 0 else traffic.SHADOW


class Deployment:
    """The stable version, perhaps a candidate beside it, and the rules by which they change.

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
        self._fallback = fallback
        self.stable = self._start(model)
        self.candidate: Candidate | None = None
        self._follows = settings.version == LATEST
        self._pinning = 0  # operators' pins whose version still loads
        self.taken_back: set[str] = set()
        self.shadow = Shadow(self.metrics, self._judge)
        self._previous: str | None = None
        self._draining: list[Running] = []
        self.changing = asyncio.Lock()
        self.metrics.draining.set_function(lambda: sum(r.in_flight > 0 for r in self._draining))
        self.metrics.roles(self.roles)

    @property
    def follows(self) -> bool:
        """Is the registry's newest version wanted? False as soon as an operator asks for a pin."""
        return self._follows and not self._pinning

    @property
    def roles(self) -> dict[str, str]:
        """version → role, of those that take requests."""
        found = {self.stable.version: traffic.STABLE}
        if self.candidate:
            found[self.candidate.running.version] = self.candidate.role
        return found

    def find(self, version: str | None = None) -> tuple[Running, str]:
        """The stable version, or a running one by its number, and its role.

        Raises:
            UnknownVersion: it does not run here.
        """
        if version in (None, self.stable.version):
            return self.stable, traffic.STABLE
        if self.candidate and version == self.candidate.running.version:
            return self.candidate.running, self.candidate.role
        known = ", ".join(sorted(self.roles, key=int))
        raise UnknownVersion(f"no such version runs here; there are: {known}")

    def turn_away(self) -> Overloaded | None:
        """Why a request is refused unread: there is next to no room. Counted as a refused one.

        None while there is a candidate, which may have room.
        """
        return self.stable.engine.turn_away() if self.candidate is None else None

    async def predict(
        self, texts: list[str], caller: str | None = None, version: str | None = None
    ) -> Prediction:
        """An answer from the version asked for, or from the one whose share ``caller`` is in.

        A caller without a name is assigned at random each time. If the canary does not answer in
        its part of the deadline, the stable version is asked in the time that is left, unless the
        caller named the canary's version.

        Raises:
            UnknownVersion: ``version`` does not run here.
            Overloaded, NoAnswer: as ``Engine.predict``.
        """
        if version:
            return await self._ask(*self.find(version), texts)
        candidate = self.candidate
        name = caller if caller is not None else secrets.token_hex(16)
        if candidate and candidate.split.takes(name):
            return await self._try(candidate, texts)
        running = self.stable
        try:
            prediction = await self._ask(running, traffic.STABLE, texts)
        except NoAnswer:
            if candidate:
                candidate.trial.stable_answered(error=True)
            raise
        if candidate:
            candidate.trial.stable_answered(error=prediction.fallback)
        if self.candidate and running is self.stable and not prediction.fallback:
            share = self.candidate.split.shadow
            self.shadow.mirror(self.candidate.running, share, texts, prediction)
        return prediction

    async def switch(self, version: str = LATEST) -> None:
        """Load a version beside the stable one, then let it answer; the old one drains and closes.

        A number pins the version: newer ones are not taken up until a switch to ``latest``.

        Raises:
            BadModel: it is broken or not there; nothing has changed then.
        """
        pin = version != LATEST
        self._pinning += pin  # at once: what the watcher is loading now is not taken up
        try:
            async with self.changing:
                await self.take_up(version)
                self._follows = not pin
        finally:
            self._pinning -= pin
        state = "pinned" if pin else "followed by the registry's newer ones"
        log.info("version %s answers and is %s", self.stable.version, state)

    async def try_out(self, version: str, share: float, shadow: float) -> None:
        """Put a version on trial, instead of an earlier candidate.

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
            self._replace(self.candidate.running)

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
            await self.take_up(self._previous)
            self._previous = None
            self._note_taken_back(failed, traffic.BY_HAND)

    async def take_up(self, version: str) -> None:
        """Let a version answer all requests. Hold ``changing``."""
        self.place(await self.load(version))

    def place(
        self, model: LoadedModel, share: float = 0.0, shadow: float = 0.0, by_hand: bool = False
    ) -> None:
        """Let a loaded model answer: all requests, or those of its share of callers on trial.

        Raises:
            NothingToDo: a trial of the stable version.
        """
        on_trial = share > 0 or shadow > 0
        if model.manifest.version == self.stable.version:
            if on_trial:
                raise NothingToDo("this version is the stable one")
            return
        if self.candidate and self.candidate.running.model is model:
            running = self.candidate.running
        else:
            running = self._start(model)
        if not on_trial:
            return self._replace(running)
        if self.candidate and self.candidate.running is not running:
            self._retire(self.candidate.running)
        split = traffic.Split(share, shadow, f"{self.settings.salt}:{running.version}")
        trial = traffic.Trial(self.settings.max_errors, self.settings.min_agreement)
        self.candidate = Candidate(running, split, trial, by_hand)
        self.metrics.roles(self.roles)
        log.info("version %s is a candidate", running.version)

    def take_back(self, reason: str) -> None:
        """End the trial of the candidate. reason: as the metrics name it."""
        assert self.candidate
        failed, self.candidate = self.candidate.running, None
        self._retire(failed)
        self._note_taken_back(failed.version, reason)

    async def close(self) -> None:
        """Finish the batches that have begun, fail the rest; every engine is closed afterwards."""
        await self.shadow.close()
        trial = [self.candidate.running] if self.candidate else []
        engines = [running.engine for running in (self.stable, *trial, *self._draining)]
        await asyncio.gather(*(asyncio.to_thread(engine.close) for engine in engines))

    async def _try(self, candidate: Candidate, texts: list[str]) -> Prediction:
        """An answer of the canary, or of the stable version in the time that is left."""
        end, trial = time.monotonic() + self.settings.deadline, candidate.trial
        part = CANARY_TIME * self.settings.deadline
        try:
            prediction = await self._ask(candidate.running, traffic.CANARY, texts, part)
        except Overloaded:  # a busy machine is no fault of the version's
            return await self._ask(self.stable, traffic.STABLE, texts, end - time.monotonic())
        except NoAnswer:
            try:
                prediction = await self._ask(
                    self.stable, traffic.STABLE, texts, end - time.monotonic()
                )
            except NoAnswer:
                trial.answered(error=True, by_both=True)
                self._end_if_failed(candidate)
                raise
            trial.answered(error=True)
        else:
            trial.answered(prediction.fallback)
        self._end_if_failed(candidate)
        return prediction

    async def _ask(
        self, running: Running, role: str, texts: list[str], deadline: float | None = None
    ) -> Prediction:
        try:
            prediction = await running.predict(texts, deadline)
        except NoAnswer:
            self.metrics.errors.labels(running.version, role).inc()
            raise
        self.metrics.answers.labels(running.version, role).inc()
        return prediction

    def _judge(self, running: Running, error: bool, agrees: Sequence[bool] = ()) -> None:
        """A candidate was asked in the background what the stable version had answered."""
        candidate = self.candidate
        if candidate is None or running is not candidate.running:
            return
        candidate.trial.compared(agrees)
        if agrees and self.stable.engine.observer:
            self.stable.engine.observer.disagreed([not same for same in agrees])
        candidate.trial.answered(error)
        self._end_if_failed(candidate)

    def _end_if_failed(self, candidate: Candidate) -> None:
        if candidate is self.candidate and (reason := candidate.trial.verdict()):
            self.take_back(reason)

    def _replace(self, new: Running) -> None:
        old, self.stable = self.stable, new
        self._previous = old.version
        self.taken_back.discard(new.version)
        if self.candidate and self.candidate.running is not new:
            self._retire(self.candidate.running)
        self.candidate = None
        self._retire(old)
        log.info("version %s replaces %s", new.version, old.version)

    def _note_taken_back(self, version: str, reason: str) -> None:
        self.taken_back.add(version)
        self.metrics.roll_backs.labels(version, reason).inc()
        log.error("version %s was rolled back: %s", version, reason)

    def _retire(self, running: Running) -> None:
        self._draining = [r for r in self._draining if not r.closed] + [running]
        running.retire()
        self.metrics.roles(self.roles)

    def _start(self, model: LoadedModel) -> Running:
        spare = self._fallback
        if spare is not None and spare.manifest.version == model.manifest.version:
            spare = None
        return Running(model, Engine(model, self.settings, spare, self._engine_metrics))

    async def load(self, version: str) -> LoadedModel:
        """The candidate's model if it is that version, else one read from the registry.

        Raises:
            BadModel: it is broken or not there.
        """
        if self.candidate and version == self.candidate.running.version:
            return self.candidate.running.model
        name = self.settings.registry, self.settings.model
        try:
            model = await asyncio.to_thread(registry.load, *name, version)
        except BadModel:
            self.metrics.loads.labels("refused").inc()
            raise
        self.metrics.loads.labels("loaded").inc()
        return model
