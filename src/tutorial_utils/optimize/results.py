"""The results of the stages of ``optimize``: what was tried, and what the gate may promote."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.optimize import gate
from tutorial_utils.optimize.answers import Fidelity
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.target import CPU
from tutorial_utils.optimize.timing import Ratios
from tutorial_utils.runtime.recipe import Recipe

PYTORCH, BEFORE = "pytorch", "promoted before"


@dataclass(frozen=True)
class Trial:
    """A file or a setting that a stage tried.

    times: workload → time relative to the fastest fp32 file; empty if there was no choice to make.
    agreement, difference: share of texts with PyTorch's answer, and the score minus PyTorch's, on
    texts that the gate does not use.
    """

    stage: str
    name: str
    kept: bool
    reason: str = ""
    times: Ratios = field(default_factory=dict)
    megabytes: float | None = None
    agreement: float | None = None
    difference: float | None = None

    def __str__(self) -> str:
        times = "; ".join(f"{workload} {ratio}" for workload, ratio in self.times.items())
        text = f"{'kept' if self.kept else 'rejected'} {self.name}"
        return ": ".join(part for part in (text, times, self.reason) if part)


@dataclass(frozen=True)
class Measured(Ratio):
    """Time of a candidate relative to PyTorch, and its median in milliseconds."""

    p50_ms: float


@dataclass(frozen=True)
class Candidate:
    """A file that the gate may promote.

    source: the fp32 file that it was made from, perhaps itself. fidelity: on the texts for
    choosing; None for an fp32 file, which was already compared with PyTorch.
    """

    name: str
    source: str
    precision: str = "fp32"
    fidelity: Fidelity | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the files on the way to it, each made from the one before."""
        return tuple(dict.fromkeys(("exported", self.source, self.name)))

    def budget(self, job: Job, tuned: int) -> int:
        """Tokens of a batch: ``tuned``, or one text where the others could change its answer."""
        return 1 if job.batch_invariant and self.precision == "int8" else tuned

    def promising(self, limits: gate.Limits) -> bool:
        """Whether its answers will probably pass the gate."""
        return self.fidelity is None or gate.likely(self.fidelity, limits)


@dataclass(frozen=True)
class Found:
    """The results of the stages so far.

    megabytes: size of PyTorch's weights in fp32. graphs: names of the usable fp32 files. fp32: the
    fastest of them. smaller: candidates in fewer bits, those in the fewest first. budget: tokens of
    a batch. times: workload → file → its time. against: workload → candidate → its time relative
    to the version in use.
    """

    megabytes: float = 0.0
    graphs: tuple[str, ...] = ()
    fp32: str = ""
    smaller: tuple[Candidate, ...] = ()
    budget: int = CPU.budget
    times: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    against: Mapping[str, Mapping[str, Ratio]] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everything that may be promoted."""
        return (*self.smaller, Candidate(self.fp32, self.fp32))

    @property
    def spare(self) -> str:
        """Name of the fp32 file with the fusions that pay on a CPU, or the nearest to it."""
        return self.graphs[-1]

    def recipe(self, job: Job, candidate: Candidate) -> Recipe:
        """How a candidate is run, when it is timed and when it is served."""
        budget = candidate.budget(job, self.budget)
        return job.recipe(budget, steps=(*candidate.steps, "tuned"))

    def tried(self, *trials: Trial) -> "Found":
        """These results with more trials."""
        return replace(self, trials=self.trials + trials)
