"""Decides which version answers whom, and when a trial has failed. Nothing here runs a model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.rollout import sequential
from tutorial_utils.serving.rollout.sequential import Counts

STABLE, CANARY, SHADOW = "stable", "canary", "shadow"
ERRORS, DISAGREEMENT, BY_HAND = "errors", "disagreement", "by hand"
COMPARED = ("agrees", "differs", "failed", "dropped")  # what becomes of a text in shadow


def place(caller: str, salt: str) -> float:
    """A hash of the caller between 0 and 1, which depends on the salt.

    A canary with a share s answers the callers below s. So the split is sticky without a table,
    all replicas decide alike, and a caller that gets it at 10 % still gets it at 20 %.
    """
    digest = hashlib.sha256(f"{salt}\0{caller}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


@dataclass
class Trial:
    """What a candidate and the stable version have answered side by side.

    Callers are assigned at random, so both versions get about as many texts that neither can
    answer. But a single caller may send many of them. So errors count only if the canary alone
    makes enough of them.

    max_errors: share of errors by which a candidate may exceed the stable version.
    min_agreement: share of texts that it has to answer as the stable version does.
    failed_by_both: how many of the canary's errors the stable version failed as well.
    """

    max_errors: float
    min_agreement: float
    canary: Counts = Counts()
    stable: Counts = Counts()
    failed_by_both: int = 0
    agreeing: int = 0
    differing: int = 0
    _errs: bool = False  # at the last look, it made too many errors

    def answered(self, error: bool, by_both: bool = False) -> None:
        """The candidate answered a request or failed it; ``by_both``: so did the stable version."""
        self.canary = self.canary.plus(error)
        self.failed_by_both += by_both
        if alpha := sequential.alpha_at(self.canary.answers):
            self._errs = self._errs_more(alpha)

    def stable_answered(self, error: bool) -> None:
        """The stable version answered a request of its own callers, or failed it."""
        self.stable = self.stable.plus(error)

    def compared(self, agrees: Sequence[bool]) -> None:
        """Both answered these texts, with the same answer or not."""
        self.agreeing += sum(agrees)
        self.differing += len(agrees) - sum(agrees)

    def verdict(self) -> str | None:
        """Why the candidate has failed, or None."""
        if self._errs:
            return ERRORS
        if sequential.disagrees(self.agreeing, self.differing, self.min_agreement):
            return DISAGREEMENT
        return None

    def _errs_more(self, alpha: float) -> bool:
        canary, stable = self.canary, self.stable
        if stable.answers < canary.errors:  # the canary has most callers: compare on what it failed
            stable = Counts(canary.errors, self.failed_by_both)
        alone = (canary.errors - self.failed_by_both) / canary.answers
        excess = min(alone, canary.rate - stable.rate)
        return excess > self.max_errors and sequential.p_value(canary, stable) < alpha


@dataclass(frozen=True)
class Candidate:
    """A version on trial. Shares: of callers that it answers, and of answers to compare.

    by_hand: an operator began the trial, not the registry's watcher.
    """

    engine: Engine
    trial: Trial
    share: float
    shadow: float
    salt: str
    by_hand: bool

    @property
    def role(self) -> str:
        return CANARY if self.share > 0 else SHADOW

    def takes(self, caller: str) -> bool:
        return place(caller, self.salt) < self.share


class TrafficMetrics:
    """Versions, roles and trials, in the form that Prometheus reads."""

    def __init__(self, registry: CollectorRegistry):
        self.registry = registry
        counter = partial(Counter, namespace="serve", registry=registry)
        gauge = partial(Gauge, namespace="serve", registry=registry)
        role = ("version", "role")
        self.answers = counter("answers", "Requests answered, by the version that did.", role)
        self.errors = counter("version_errors", "Requests that a version failed.", role)
        self.shadowed = counter("shadow_texts", "Texts asked in shadow.", ("version", "outcome"))
        self.roll_backs = counter("roll_backs", "Versions rolled back.", ("version", "reason"))
        self.loads = counter("loads", "Versions loaded or refused.", ("outcome",))
        self._roles = gauge("version_role", "1 for each version that runs, by its role.", role)
        self.draining = gauge("versions_draining", "Versions that finish what they accepted.")
        for outcome in ("loaded", "refused"):
            self.loads.labels(outcome)

    def roles(self, running: dict[str, str]) -> None:
        """running: version → role, all that take requests."""
        self._roles.clear()
        for version, role in running.items():
            self._roles.labels(version, role).set(1)
            for counter in (self.answers, self.errors):  # it exists before it counts
                counter.labels(version, role)
            for reason in (ERRORS, DISAGREEMENT, BY_HAND):
                self.roll_backs.labels(version, reason)
            for outcome in COMPARED if role != STABLE else ():
                self.shadowed.labels(version, outcome)
