"""The versions that run: swapped without loss, tried on a share, taken back when they fail.

All methods are called on the event loop, so a switch is one assignment between two requests. What
takes long (reading, verifying, opening, closing) runs in threads of its own.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tutorial_utils import registry
from tutorial_utils.errors import TutorialError
from tutorial_utils.registry import BadModel, LoadedModel
from tutorial_utils.serving import traffic
from tutorial_utils.serving.engine import (
    DeadlineExceeded,
    Engine,
    InferenceFailed,
    Overloaded,
    Prediction,
)
from tutorial_utils.serving.metrics import Metrics
from tutorial_utils.serving.running import Running
from tutorial_utils.serving.settings import LATEST, Settings
from tutorial_utils.serving.shadow import Shadow
from tutorial_utils.serving.traffic import CANARY, SHADOW, STABLE, Split, TrafficMetrics, Trial

log = logging.getLogger(__name__)


class UnknownVersion(TutorialError, LookupError):
    """No such version runs here; the message names those that do."""


class NothingToDo(TutorialError, RuntimeError):
    """There is no candidate to promote, or no earlier version to go back to."""


@dataclass(frozen=True)
class Candidate:
    """A version on trial."""

    running: Running
    split: Split
    trial: Trial

    @property
    def role(self) -> str:
        return CANARY if self.split.share > 0 else SHADOW


class Deployment:
    """The stable version, perhaps a candidate beside it, and the rules of their change.

    follows: the newest version of the registry is wanted, rather than one by its number.
    taken_back: versions that failed here; they are not taken up again by themselves.
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
        self.metrics = TrafficMetrics(self._engine_metrics.registry)
        self._fallback = fallback
        self.stable = self._start(model)
        self.candidate: Candidate | None = None
        self.follows = settings.version == LATEST
        self.taken_back: set[str] = set()
        self.shadow = Shadow(self.metrics, self._judge)
        self._previous: str | None = None
        self._draining: list[Running] = []
        self.changing = asyncio.Lock()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="registry")
        self.metrics.draining.set_function(lambda: sum(r.in_flight > 0 for r in self._draining))
        self._tell()

    @property
    def roles(self) -> dict[str, str]:
        """version → role, of those that take requests."""
        found = {self.stable.version: STABLE}
        if self.candidate:
            found[self.candidate.running.version] = self.candidate.role
        return found

    def find(self, version: str | None = None) -> tuple[Running, str]:
        """The stable version, or a running one by its number, and its role.

        Raises:
            UnknownVersion: it does not run here.
        """
        if version in (None, self.stable.version):
            return self.stable, STABLE
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

        A caller without a name gets a new draw each time. What the candidate fails is asked of the
        stable version, unless the caller asked for the candidate: trials cost callers nothing.

        Raises:
            UnknownVersion: ``version`` does not run here.
            Overloaded, DeadlineExceeded, InferenceFailed: as the engine says.
        """
        chosen, role = self.find(version) if version else self._choose(caller)
        try:
            prediction = await self._ask(chosen, role, texts)
        except (InferenceFailed, Overloaded):
            if role != CANARY or version:
                raise
            chosen, role = self.stable, STABLE
            prediction = await self._ask(chosen, role, texts)
        self.metrics.answers.labels(chosen.version, role).inc()
        if role == STABLE and self.candidate and not prediction.fallback:
            share = self.candidate.split.shadow
            self.shadow.mirror(self.candidate.running, share, texts, prediction)
        return prediction

    async def switch(self, version: str = LATEST) -> None:
        """Load a version beside the stable one, then let it answer; the old one drains and closes.

        Raises:
            BadModel: it is broken or not there; nothing has changed then.
        """
        async with self.changing:
            await self.take_up(version)
            self.follows = version == LATEST

    async def try_out(self, version: str, share: float, shadow: float) -> None:
        """Put a version on trial, in the place of an earlier candidate.

        Raises:
            BadModel: it is broken or not there.
            NothingToDo: it is the stable version, or both shares are 0.
        """
        if not (share or shadow):
            raise NothingToDo("a candidate needs a share of the callers or of the answers")
        async with self.changing:
            await self.take_up(version, share, shadow)

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
        """Take the candidate back; without one, go back to the stable version before this one.

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

    async def take_up(self, version: str, share: float = 0.0, shadow: float = 0.0) -> None:
        """Let a version answer: all, or with a share the callers in it. Hold ``changing``."""
        if self.candidate and version == self.candidate.running.version:
            self.place(self.candidate.running.model, share, shadow)
        else:
            self.place(await self._load(version), share, shadow)

    def place(self, model: LoadedModel, share: float = 0.0, shadow: float = 0.0) -> None:
        """Let a model that is loaded answer, as ``take_up`` says.

        Raises:
            NothingToDo: a trial of the stable version.
        """
        trial = share > 0 or shadow > 0
        if model.manifest.version == self.stable.version:
            if trial:
                raise NothingToDo("this version is the stable one")
            return
        on_trial = self.candidate and self.candidate.running.model is model
        running = self.candidate.running if on_trial else self._start(model)
        if not trial:
            return self._replace(running)
        if self.candidate and self.candidate.running is not running:
            self._retire(self.candidate.running)
        split = Split(share, shadow, f"{self.settings.salt}:{running.version}")
        self.candidate = Candidate(running, split, Trial.of(self.settings))
        self._tell()
        log.info("version %s is a candidate", running.version)

    def take_back(self, reason: str) -> None:
        """End the trial of the candidate. reason: as the metrics name it."""
        failed, self.candidate = self.candidate.running, None
        self._retire(failed)
        self._note_taken_back(failed.version, reason)

    async def read(self, function, *arguments):
        """Run a function that reads files, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *arguments)

    def close(self) -> None:
        """Finish the batches that have begun, fail the rest."""
        self.shadow.close()
        self._reader.shutdown(wait=False, cancel_futures=True)
        trial = [self.candidate.running] if self.candidate else []
        for running in (self.stable, *trial, *(r for r in self._draining if r.in_flight)):
            running.engine.close()

    def _choose(self, caller: str | None) -> tuple[Running, str]:
        if self.candidate:
            name = caller if caller is not None else secrets.token_hex(16)
            if self.candidate.split.takes(name):
                return self.candidate.running, CANARY
        return self.stable, STABLE

    async def _ask(self, running: Running, role: str, texts: list[str]) -> Prediction:
        try:
            prediction = await running.predict(texts)
        except (InferenceFailed, DeadlineExceeded):
            self.metrics.errors.labels(running.version, role).inc()
            self._judge(running, True)
            raise
        self._judge(running, prediction.fallback)
        return prediction

    def _judge(self, running: Running, error: bool, agrees: Sequence[bool] = ()) -> None:
        if (candidate := self.candidate) is None:
            return
        if running is self.stable:
            candidate.trial.stable_errors.add(error)
        elif running is candidate.running:
            candidate.trial.errors.add(error)
            for same in agrees:
                candidate.trial.agreement.add(same)
            if agrees and self.stable.engine.observer:
                self.stable.engine.observer.disagreed([not same for same in agrees])
            if reason := candidate.trial.verdict():
                self.take_back(reason)

    def _replace(self, new: Running) -> None:
        old, self.stable = self.stable, new
        self._previous = old.version
        self.taken_back.discard(new.version)
        if self.candidate and self.candidate.running is not new:
            self._retire(self.candidate.running)
        self.candidate = None
        self._retire(old)
        log.info("version %s answers in the place of %s", new.version, old.version)

    def _note_taken_back(self, version: str, reason: str) -> None:
        self.taken_back.add(version)
        self.metrics.roll_backs.labels(version, reason).inc()
        log.error("version %s was taken back: %s", version, reason)

    def _retire(self, running: Running) -> None:
        self._draining = [r for r in self._draining if r.in_flight] + [running]
        running.retire()
        self._tell()

    def _start(self, model: LoadedModel) -> Running:
        spare = self._fallback
        if spare is not None and spare.manifest.version == model.manifest.version:
            spare = None
        return Running(model, Engine(model, self.settings, spare, self._engine_metrics))

    async def _load(self, version: str) -> LoadedModel:
        settings = self.settings
        try:
            model = await self.read(registry.load, settings.registry, settings.model, version)
        except BadModel:
            self.metrics.loads.labels("refused").inc()
            raise
        self.metrics.loads.labels("loaded").inc()
        return model

    def _tell(self) -> None:
        self.metrics.roles(self.roles)
