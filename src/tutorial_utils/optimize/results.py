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
from tutorial_utils.runtime.session import SessionRecipe

PYTORCH, BEFORE = "pytorch", "promoted before"


@dataclass(frozen=True)
class Trial:
    """A file or a setting that a stage tried.

    times: workload → time relative to the fastest fp32 file; empty if there was no choice to make.
    agreement, difference: share of texts with PyTorch's answer, and the score minus PyTorch's, on
    texts that the gate does not use. provider: that it was tried on, if it is not the target's.
    """

    stage: str
    name: str
    kept: bool
    reason: str = ""
    times: Ratios = field(default_factory=dict)
    megabytes: float | None = None
    agreement: float | None = None
    difference: float | None = None
    provider: str = ""

    def __str__(self) -> str:
        times = "; ".join(f"{workload} {ratio}" for workload, ratio in self.times.items())
        place = f" on {self.provider}" if self.provider else ""
        text = f"{'kept' if self.kept else 'rejected'} {self.name}{place}"
        return ": ".join(part for part in (text, times, self.reason) if part)


@dataclass(frozen=True)
class Measured(Ratio):
    """Time of a candidate relative to PyTorch, and its median in milliseconds."""

    p50_ms: float


@dataclass(frozen=True)
class Candidate:
    """A file that the gate may promote.

    source: the fp32 file that it was made from, perhaps itself. fidelity: on the texts for
    choosing; None for an fp32 file, which was already compared with PyTorch. session: with which it
    is opened if it is for another provider than the target's.
    """

    name: str
    source: str
    precision: str = "fp32"
    fidelity: Fidelity | None = None
    session: SessionRecipe | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the files on the way to it, each made from the one before."""
        first = () if self.session else ("exported",)  # other providers' files start anew
        return tuple(dict.fromkeys((*first, self.source, self.name)))

    @property
    def dynamic(self) -> bool:
        """Whether the texts of a batch share scales, so that one can change another's answer."""
        return self.precision == "int8" and self.session is None

    def budget(self, job: Job, tuned: int) -> int:
        """Tokens of a batch: ``tuned``, or one text where the others could change its answer."""
        return 1 if job.batch_invariant and self.dynamic else tuned

    def provider(self, job: Job) -> str:
        """Name of the execution provider that it is for."""
        return (self.session or job.target.session).provider

    def promising(self, limits: gate.Limits) -> bool:
        """Whether its answers will probably pass the gate."""
        return self.fidelity is None or gate.likely(self.fidelity, limits)


@dataclass(frozen=True)
class Tuned:
    """How a provider runs best. budget: tokens of a batch. threads: as in ``SessionRecipe``."""

    budget: int = CPU.budget
    threads: int = 0


@dataclass(frozen=True)
class Found:
    """The results of the stages so far.

    megabytes: size of PyTorch's weights in fp32. graphs: names of the usable fp32 files. fp32: the
    fastest of them. smaller: candidates in fewer bits, those in the fewest first. others: those for
    other providers than the target's. tuned: provider → how it runs best. times: workload → file →
    its time. against: workload → candidate → its time relative to the version in use.
    """

    megabytes: float = 0.0
    graphs: tuple[str, ...] = ()
    fp32: str = ""
    smaller: tuple[Candidate, ...] = ()
    others: tuple[Candidate, ...] = ()
    tuned: Mapping[str, Tuned] = field(default_factory=dict)
    times: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    against: Mapping[str, Mapping[str, Ratio]] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everything that may be promoted."""
        return (*self.smaller, *self.others, self.plain)

    @property
    def spare(self) -> str:
        """Name of the fp32 file with the fusions that pay on a CPU, or the nearest to it."""
        return self.graphs[-1]

    def recipe(self, job: Job, candidate: Candidate) -> Recipe:
        """How a candidate is run, when it is timed and when it is served."""
        session, tuned = candidate.session or job.target.session, self.best(job, candidate)
        session = replace(session, threads=tuned.threads)
        budget = candidate.budget(job, tuned.budget)
        return job.recipe(budget, (*candidate.steps, "tuned"), session)

    def best(self, job: Job, candidate: Candidate) -> Tuned:
        """How the candidate's provider runs best, as far as it was tuned."""
        return self.tuned.get(candidate.provider(job), Tuned(job.target.budget))

    @property
    def plain(self) -> Candidate:
        """The fastest fp32 file."""
        return Candidate(self.fp32, self.fp32)

    def tried(self, *trials: Trial) -> "Found":
        """These results with more trials."""
        return replace(self, trials=self.trials + trials)
