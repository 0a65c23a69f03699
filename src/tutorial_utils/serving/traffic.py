"""Who is answered by which version, and when a trial has failed. Nothing here runs a model."""

import hashlib
import math
from collections import deque
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from tutorial_utils.serving.settings import Settings

STABLE, CANARY, SHADOW = "stable", "canary", "shadow"
ERRORS, DISAGREEMENT, BY_HAND = "errors", "disagreement", "by hand"
COMPARED = ("agrees", "differs", "failed", "dropped")  # what becomes of a text in shadow


def place(caller: str, salt: str) -> float:
    """Where a caller stands, between 0 and 1: always there for one salt, anywhere for another.

    A share s is given to the callers below s. So it is sticky without a table, every replica
    decides alike, and who is in at 10 % stays in at 20 %.
    """
    digest = hashlib.sha256(f"{salt}\0{caller}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


class Window:
    """Share of the last ``size`` outcomes that were true."""

    def __init__(self, size: int):
        self._seen: deque[bool] = deque(maxlen=size)
        self._true = 0

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, outcome: bool) -> None:
        if len(self._seen) == self._seen.maxlen:
            self._true -= self._seen[0]
        self._seen.append(outcome)
        self._true += outcome

    @property
    def share(self) -> float:
        """Between 0 and 1; not a number while nothing was seen."""
        return self._true / len(self) if self._seen else math.nan


@dataclass
class Trial:
    """How a candidate does beside the stable version, over the last answers of each."""

    errors: Window
    stable_errors: Window
    agreement: Window
    least: int
    max_errors: float
    min_agreement: float

    @classmethod
    def of(cls, settings: Settings) -> "Trial":
        windows = (Window(settings.trial) for _ in range(3))
        limits = (settings.trial_least, settings.max_errors, settings.min_agreement)
        return cls(*windows, *limits)

    def verdict(self) -> str | None:
        """Why the candidate has failed, or None.

        Errors are those in excess of the stable version's: a text that no model can read, or a
        machine out of memory, is not the candidate's fault.
        """
        if len(self.errors) >= self.least:
            excess = self.errors.share - (self.stable_errors.share if self.stable_errors else 0.0)
            if excess > self.max_errors:
                return ERRORS
        if len(self.agreement) >= self.least and self.agreement.share < self.min_agreement:
            return DISAGREEMENT
        return None


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
