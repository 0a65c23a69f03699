"""May this version be promoted? Each limit checked, and which one was missed said in words."""

from dataclasses import dataclass

from tutorial_utils.quality import Quality
from tutorial_utils.tables import Table


@dataclass(frozen=True)
class Limits:
    """What a promoted version must keep to. Ratios are times or sizes: 1 is as much as before.

    score_fall: how far F1 may lie below PyTorch's, or the promoted version's.
    rmse_rise: how far the RMSE of a regression may lie above it, as a share of the standard
    deviation of the labels; of several targets, for each.
    certain: the whole 95 % interval of the difference must keep to that limit, not its middle.
    agreement: least share of texts with PyTorch's answer. latency, size: relative to PyTorch fp32.
    slower: time relative to the version promoted before, in the same run.
    """

    score_fall: float = 0.005
    rmse_rise: float = 0.01
    certain: bool = False
    agreement: float = 0.98
    latency: float = 1.0
    size: float = 1.0
    slower: float = 1.05


@dataclass(frozen=True)
class Ratio:
    """A time relative to another's, with its 95 % interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """What was measured of a candidate; None where it could not be.

    score: against labels and PyTorch. previous_score, previous_time: against the version promoted
    before, whose score is the reference of ``previous_score``.
    """

    agreement: float
    time: Ratio
    size: float
    score: Quality | None = None
    previous: str | None = None
    previous_score: Quality | None = None
    previous_time: Ratio | None = None


@dataclass(frozen=True)
class Check:
    """One limit, what was measured, and whether it was kept to."""

    name: str
    measured: str
    limit: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.measured} (limit: {self.limit})"


def check(evidence: Evidence, limits: Limits = Limits()) -> tuple[Check, ...]:
    """Every limit that the evidence can speak to; promoted is what passes them all."""
    checks = []
    if evidence.score:
        checks.append(_score("score against PyTorch", evidence.score, limits))
    checks += [
        Check(
            "agreement with PyTorch",
            f"{evidence.agreement:.2%}",
            f"at least {limits.agreement:.2%}",
            evidence.agreement >= limits.agreement,
        ),
        _time("latency against PyTorch", evidence.time, limits.latency),
        Check(
            "size against PyTorch",
            f"{evidence.size:.2f} ×",
            f"at most {limits.size:.2f} ×",
            evidence.size <= limits.size,
        ),
    ]
    if evidence.previous_score:
        name = f"score against version {evidence.previous}"
        checks.append(_score(name, evidence.previous_score, limits))
    if evidence.previous_time:
        name = f"latency against version {evidence.previous}"
        checks.append(_time(name, evidence.previous_time, limits.slower))
    return tuple(checks)


def table(checks: tuple[Check, ...]) -> Table:
    """One row a limit."""
    rows = [(c.name, c.measured, c.limit, "passed" if c.passed else "MISSED") for c in checks]
    return Table.of(("check", "measured", "limit", ""), rows)


def tolerated(score: Quality, limits: Limits) -> float:
    """How far ``score`` may get worse: points of F1, or RMSE in the label's unit."""
    return limits.score_fall if score.spread is None else limits.rmse_rise * score.spread


def _score(name: str, score: Quality, limits: Limits) -> Check:
    """Of a regression with several targets, the worst one decides."""

    def deciding(one: Quality) -> float:
        middle, _, worst = one.worsening
        return worst if limits.certain else middle

    one = max(score.targets or (score,), key=deciding)
    measured = f"{one.metric} {one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
    may, what = tolerated(one, limits), "the difference"
    if one.spread is None:
        if limits.certain:
            what = "the interval's low end"
        limit = f"{what} not below -{may:g}"
        return Check(name, measured, limit, deciding(one) <= limits.score_fall)
    if limits.certain:
        what = "the interval's high end"
    limit = f"{what} not above +{may:.4g}, {limits.rmse_rise:.2%} of the labels' standard deviation"
    return Check(name, measured, limit, deciding(one) <= limits.rmse_rise)


def _time(name: str, time: Ratio, limit: float) -> Check:
    measured = f"{time.ratio:.2f} × [{time.low:.2f}, {time.high:.2f}]"
    # A limit is missed when the whole interval lies above it: noise refuses nobody.
    return Check(name, measured, f"at most {limit:.2f} ×", time.low <= limit)
