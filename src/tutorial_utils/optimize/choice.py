"""Choose what to promote: the fastest that passes the gate; of equally fast, the smallest.

Each is judged by itself, on texts that no earlier choice has used. At most six are tried. So the
chance that a bad one passes is at most six times as large as for one candidate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tutorial_utils.bench.intervals import RESOLUTION, Ratio
from tutorial_utils.graph import inspection
from tutorial_utils.optimize import answers, gate, timing
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.results import BEFORE, PYTORCH, Candidate, Found, Measured


@dataclass(frozen=True)
class Judged:
    """A candidate, what was measured, and the gate's checks."""

    candidate: Candidate
    evidence: gate.Evidence
    checks: tuple[gate.Check, ...]

    @property
    def missed(self) -> tuple[gate.Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def time(self) -> float:
        """Mean time of all workloads relative to PyTorch."""
        return timing.mean(self.evidence.time)

    @property
    def noisy(self) -> bool:
        """Whether noise is all that keeps it from passing."""
        return bool(self.missed) and all(check.noisy for check in self.missed)


def choose(job: Job, found: Found, baseline: str = "PyTorch") -> tuple[Judged, ...]:
    """Judge the candidates, the fastest first; return them with the chosen one first.

    Once one has passed, only smaller ones that are as fast are judged too. If none passes, the one
    that misses the fewest limits is first.
    """
    times = {one.name: timing.mean(_times(found, one.name)) for one in found.candidates}
    theirs = answers.of_version(job, job.previous) if job.previous else None
    judged: list[Judged] = []
    for candidate in sorted(found.candidates, key=lambda one: times[one.name]):
        passed = [one for one in judged if not one.missed]
        if passed and times[candidate.name] > passed[0].time * (1 + RESOLUTION):
            break
        if not passed or _size(job, found, candidate) < passed[-1].evidence.size:
            judged.append(_judge(job, found, candidate, baseline, theirs))
    passed = [one for one in judged if not one.missed]
    best = passed[-1] if passed else min(judged, key=lambda one: len(one.missed))
    return (best, *(one for one in judged if one is not best))


def for_any_machine(
    job: Job, found: Found, judged: tuple[Judged, ...], baseline: str = "PyTorch"
) -> Judged | None:
    """What runs where the chosen one's provider is missing: the fastest for the target's own.

    None if the chosen one needs no other provider, or if no such candidate passes the gate.
    """
    if judged[0].candidate.session is None:
        return None
    known = {one.candidate.name: one for one in judged}
    own = [one for one in found.candidates if one.session is None]
    for candidate in sorted(own, key=lambda one: timing.mean(_times(found, one.name))):
        one = known.get(candidate.name) or _judge(job, found, candidate, baseline, None)
        if not one.missed:
            return one
    return None


def refusal(judged: tuple[Judged, ...]) -> str:
    """What each candidate missed, in one line."""
    return "; ".join(f"{one.candidate.name}: {', '.join(map(str, one.missed))}" for one in judged)


def _judge(
    job: Job, found: Found, candidate: Candidate, baseline: str, theirs: np.ndarray | None
) -> Judged:
    """theirs: logits of the version in use for all texts."""
    file, judging = job.file(candidate.name), job.texts.judging
    recipe, before = found.recipe(job, candidate), None
    try:
        ours = answers.of_file(job, file, recipe, judging)
        close = answers.compared(job, ours, answers.reference(job)[judging], judging)
        if theirs is not None:
            before = answers.compared(job, ours, theirs[judging], judging).score
    except answers.NotFinite as error:
        evidence = gate.Evidence((), {}, 0.0)
        return Judged(candidate, evidence, (gate.Check("answers", str(error), "numbers", False),))
    evidence = gate.Evidence(
        close=close.close,
        time=_times(found, candidate.name),
        size=_size(job, found, candidate),
        score=close.score,
        previous=job.previous.name if job.previous else None,
        baseline=baseline,
        previous_score=before,
        previous_time={work: times[candidate.name] for work, times in found.against.items()},
        p50_ms={
            work: _p50_ms(job, times, candidate, baseline) for work, times in found.times.items()
        },
    )
    return Judged(candidate, evidence, gate.check(evidence, job.limits))


def _times(found: Found, name: str) -> dict[str, Ratio]:
    measured = {workload: times[name] for workload, times in found.times.items()}
    return {workload: Ratio(one.ratio, one.low, one.high) for workload, one in measured.items()}


def _p50_ms(
    job: Job, times: Mapping[str, Measured], candidate: Candidate, baseline: str
) -> dict[str, float]:
    """Of the candidate and what it is compared with, by the names in ``gate.Evidence``."""
    names = {gate.OURS: candidate.name, baseline: PYTORCH}
    if job.previous:
        names[f"version {job.previous.name}"] = BEFORE
    return {told: times[name].p50_ms for told, name in names.items()}


def _size(job: Job, found: Found, candidate: Candidate) -> float:
    """Of the weights, relative to PyTorch in fp32."""
    return inspection.weight_megabytes(job.file(candidate.name)) / found.megabytes
