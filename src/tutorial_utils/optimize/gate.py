"""May this version be promoted? Check each limit and say in words which ones were missed.

A time passes only if its whole interval is below the limit plus ``RESOLUTION``, so noise cannot
hide a slow-down. A measurement that is too noisy to decide is refused, and the check says so.
``docs/measuring.md`` says how often slow candidates pass and equally fast ones are refused.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Protocol

from tutorial_utils.bench.intervals import RESOLUTION, Ratio
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.core.tables import Table
from tutorial_utils.quality import Quality
from tutorial_utils.tasks import Close

CONSTANTS = 0.01  # of the weights: what constants of the exporter may add to an fp32 file
IMPLAUSIBLE = 0.005  # of PyTorch's time
OURS = "the file"


@dataclass(frozen=True)
class Limits:
    """The limits that a version must meet to be promoted.

    score_fall: how far F1 may be below that of PyTorch, and of the version in use.
    rmse_rise: how far the RMSE of each target of a regression may be above theirs, as a share of
    the standard deviation of the labels.
    certain: these two limits hold for the whole 95 % interval, not only for the difference itself.
    agreement: lowest share of texts with PyTorch's answer; a task without such a share has limits
    of its own (``Task.closeness``).
    latency: time relative to PyTorch (fp32 on a CPU, fp16 on a GPU). slower: time relative to the
    version in use, measured in the same run. Both apply to each workload separately.
    size: bytes of the weights relative to PyTorch fp32. The graph does not count: it can be larger
    than the weights of a tiny model.
    """

    score_fall: float = 0.005
    rmse_rise: float = 0.01
    certain: bool = False
    agreement: float = 0.98
    latency: float = 1.0
    size: float = 1.0
    slower: float = 1.05

    def __post_init__(self) -> None:
        if not (all(limit >= 0 for limit in astuple(self)) and self.agreement <= 1):
            raise InvalidArgument("Give limits of 0 or more, and an agreement of at most 1.")


class Answers(Protocol):
    """How close answers are to PyTorch's, and how good; score: None without labels."""

    @property
    def close(self) -> tuple[Close, ...]: ...
    @property
    def score(self) -> Quality | None: ...


@dataclass(frozen=True)
class Evidence:
    """Measurements of a candidate; None or empty if something could not be measured.

    time, previous_time: workload → time relative to PyTorch, and to the version in use.
    score, previous_score: compared with PyTorch, and with the version in use.
    previous: number of the version in use. baseline: what ``time`` is relative to. p50_ms: of the
    candidate (``OURS``) and of what it is compared with, by name, for each workload.
    """

    close: tuple[Close, ...]
    time: Mapping[str, Ratio]
    size: float
    score: Quality | None = None
    previous: str | None = None
    baseline: str = "PyTorch"
    previous_score: Quality | None = None
    previous_time: Mapping[str, Ratio] = field(default_factory=dict)
    p50_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One limit, the measured value, and whether the limit is met.

    noisy: it was missed only because the measurement is too noisy to decide.
    """

    name: str
    measured: str
    limit: str
    passed: bool
    noisy: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.measured} (limit: {self.limit})"


def check(evidence: Evidence, limits: Limits = Limits()) -> tuple[Check, ...]:
    """Check every limit for which there is evidence; a candidate is promoted if all pass."""
    checks = [
        *answers(evidence, limits),
        *_times(evidence, evidence.baseline, evidence.time, limits.latency),
        Check(
            "size of the weights against PyTorch",
            f"{evidence.size:.2f} ×",
            f"at most {limits.size:.2f} ×",
            evidence.size <= limits.size + CONSTANTS,
        ),
    ]
    if evidence.previous_score:
        name = f"score against version {evidence.previous}"
        checks.append(_score(name, evidence.previous_score, limits))
    name = f"version {evidence.previous}"
    checks += _times(evidence, name, evidence.previous_time, limits.slower)
    return tuple(checks)


def answers(found: Answers, limits: Limits) -> list[Check]:
    """Check score and closeness only."""
    score = [_score("score against PyTorch", found.score, limits)] if found.score else []
    return [*score, *(_close(one, limits) for one in found.close)]


def likely(found: Answers, limits: Limits) -> bool:
    """Whether the answers to a few texts suggest that the answers to others will pass.

    At most half of the allowed disagreement, because other texts may show more. A score varies more
    between few texts. It must stay within the limit, and must not be certainly worse.
    """
    agreement = (1 + limits.agreement) / 2
    close = (replace(one, least=(1 + one.least) / 2) for one in found.close)
    if not all(_close(one, replace(limits, agreement=agreement)).passed for one in close):
        return False
    keeps = replace(limits, certain=False)
    score = found.score
    return not score or (_score("", score, keeps).passed and score.worsening[1] <= 0)


def table(checks: tuple[Check, ...]) -> Table:
    """One row for each check."""
    rows = [(c.name, c.measured, c.limit, "passed" if c.passed else "MISSED") for c in checks]
    return Table.of(("check", "measured", "limit", ""), rows)


def tolerated(score: Quality, limits: Limits) -> float:
    """How much worse the score may get: in points of F1, or in the unit of the labels."""
    return limits.score_fall if score.spread is None else limits.rmse_rise * score.spread


def _close(close: Close, limits: Limits) -> Check:
    least = limits.agreement if close.name == "agreement" else close.least
    name, measured = f"{close.name} with PyTorch", f"{close.value:.2%}"
    return Check(name, measured, f"at least {least:.2%}", close.value >= least)


def _score(name: str, score: Quality, limits: Limits) -> Check:
    """The worst target of a regression decides."""

    def deciding(one: Quality) -> float:
        middle, _, worst = one.worsening
        return worst if limits.certain else middle

    one = max(score.targets or (score,), key=deciding)
    may, rises = tolerated(one, limits), one.spread is not None
    limit = "the difference"
    if limits.certain:
        limit = f"the interval's {'high' if rises else 'low'} end"
    if rises:
        limit += f" not above +{may:.4g}, {limits.rmse_rise:.2%} of the labels' standard deviation"
    else:
        limit += f" not below -{may:g}"
    measured = (
        f"{one.metric} {one.score:.4f}: {one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
    )
    passed = deciding(one) <= (limits.rmse_rise if rises else limits.score_fall)
    return Check(name, measured, limit, passed)


def keeps_to(time: Ratio, limit: float) -> bool | None:
    """Whether a time meets a limit; None if the measurement is too noisy to decide.

    True: the whole interval is below ``limit`` × (1 + ``RESOLUTION``). False: all of it is above.
    RESOLUTION is added because smaller differences cannot be measured. A time below
    ``IMPLAUSIBLE`` means that something held up the other, such as another program.
    """
    bound = limit * (1 + RESOLUTION)
    if _implausible(time):
        return None
    if time.high <= bound:
        return True
    return False if time.low > bound else None


def _implausible(time: Ratio) -> bool:
    return time.low < IMPLAUSIBLE


def _times(
    evidence: Evidence, reference: str, times: Mapping[str, Ratio], limit: float
) -> list[Check]:
    upper = limit * (1 + RESOLUTION)
    bound = f"whole interval at most {upper:.2f} × ({limit:.2f} × and {RESOLUTION:.0%})"
    checks = []
    for workload, time in times.items():
        kept = keeps_to(time, limit)
        noisy = "; too noisy to decide, measure more rounds" if kept is None else ""
        if _implausible(time):
            noisy = f"; {_doubted(evidence.p50_ms.get(workload, {}), reference)}"
        name = f"latency against {reference}, {workload}"
        checks.append(Check(name, f"{time}{noisy}", bound, kept is True, kept is None))
    return checks


def _doubted(p50_ms: Mapping[str, float], reference: str) -> str:
    """Why an implausible time is not believed, and what to do."""
    told = "the two are"
    if {OURS, reference} <= p50_ms.keys():
        theirs, ours = p50_ms[reference], p50_ms[OURS]
        told = f"{reference} took {theirs:.3g} ms, {OURS} {ours:.2g} ms:"
    return f"{told} too far apart to be believed. Is the machine busy? Run it again when it is idle"
