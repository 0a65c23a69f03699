"""Which version answers whom, and when a trial has failed. Nothing here runs a model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from tutorial_utils.serving.rollout import sequential
from tutorial_utils.serving.rollout.sequential import Counts

STABLE, CANARY, SHADOW = "stable", "canary", "shadow"
ERRORS, DISAGREEMENT, BY_HAND = "errors", "disagreement", "by hand"
COMPARED = ("agrees", "differs", "failed", "dropped")  # what becomes of a text in shadow


def place(caller: str, salt: str) -> float:
    """A hash of the caller between 0 and 1, which depends on the salt.

    A canary with a share s answers the callers below s. So the split is sticky without a table,
    all replicas decide alike, and a caller who is in at 10 % stays in at 20 %.
    """
    digest = hashlib.sha256(f"{salt}\0{caller}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


@dataclass
class Trial:
    """What a candidate and the stable version have answered beside each other.

    max_errors: a candidate's share of errors may be this much above the stable version's.
    min_agreement: share of texts that it has to answer as the stable version does.
    """

    max_errors: float
    min_agreement: float
    canary: Counts = Counts()
    stable: Counts = Counts()
    failed_by_both: int = 0
    agreeing: int = 0
    differing: int = 0
    _significant: bool = False  # at the last look, the errors were no chance

    def answered(self, error: bool) -> None:
        """The candidate answered a request, or failed one that the stable version answered."""
        self.canary = self.canary.plus(error)
        self._look()

    def failed_both(self) -> None:
        """Both versions failed a request: the text is at fault rather than the candidate."""
        self.failed_by_both += 1
        self._look()

    def compared(self, agrees: Sequence[bool]) -> None:
        """Both answered these texts, alike or not."""
        self.agreeing += sum(agrees)
        self.differing += len(agrees) - sum(agrees)

    def verdict(self) -> str | None:
        """Why the candidate has failed, or None."""
        if self._significant:
            return ERRORS
        if sequential.disagrees(self.agreeing, self.differing, self.min_agreement):
            return DISAGREEMENT
        return None

    def _look(self) -> None:
        alpha = sequential.alpha_at(self.canary.answers + self.failed_by_both)
        if not alpha:
            return
        canary, stable = self.canary, self.stable
        retried = canary.errors + self.failed_by_both
        if stable.answers < retried:  # the candidate has most callers: compare on what it failed
            canary = Counts(canary.answers + self.failed_by_both, retried)
            stable = Counts(retried, self.failed_by_both)
        more = canary.rate - stable.rate > self.max_errors
        self._significant = more and sequential.fails_more(canary, stable, alpha)


@dataclass(frozen=True)
class Split:
    """Shares of a candidate: of callers that it answers, and of answers it is asked for too."""

    share: float = 0.0
    shadow: float = 0.0
    salt: str = field(default="", repr=False)

    def takes(self, caller: str) -> bool:
        return self.share > 0 and place(caller, self.salt) < self.share


class TrafficMetrics:
    """Versions, roles and trials, as Prometheus sees them."""

    def __init__(self, registry: CollectorRegistry):
        self.registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.answers = counter(
            "serve_answers", "Requests answered, by the version that did.", "version", "role"
        )
        self.errors = counter(
            "serve_version_errors", "Requests that a version failed.", "version", "role"
        )
        self.shadowed = counter(
            "serve_shadow_texts",
            "Texts a candidate was asked for too.",
            "version",
            "outcome",
        )
        self.roll_backs = counter(
            "serve_roll_backs", "Versions taken back, and why.", "version", "reason"
        )
        self.loads = counter("serve_loads", "Versions loaded or refused.", "outcome")
        self._roles = Gauge(
            "serve_version_role", "1 for each version that runs, by its role.",
            ("version", "role"), registry=registry,
        )  # fmt: skip
        self.draining = Gauge(
            "serve_versions_draining", "Versions that finish what they accepted.", registry=registry
        )
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
