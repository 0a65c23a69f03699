"""The stages of ``optimize`` in order. Each takes the results so far and adds its own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.graph import inspection
from tutorial_utils.optimize import answers, timing, variants
from tutorial_utils.optimize.answers import Fidelity
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.target import CPU, Target
from tutorial_utils.optimize.timing import Entry, Ratios
from tutorial_utils.optimize.variants import Variant

LEAST_AGREEMENT = 0.95  # looser than the gate's, because it is measured on fewer texts
PYTORCH, BEFORE = "pytorch", "promoted before"


@dataclass(frozen=True)
class Trial:
    """A candidate that a stage tried.

    times: workload → time relative to the best file of earlier stages.
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
class Found:
    """The results of the stages so far.

    megabytes: size of PyTorch's weights in fp32. graphs: names of the usable fp32 files.
    steps: names of the files that were kept, each made from the one before. budget: tokens of a
    batch. times: workload → candidate → its time. against: workload → time of the best file
    relative to the previous version.
    """

    megabytes: float = 0.0
    graphs: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    budget: int = CPU.budget
    times: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    against: Ratios = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> str:
        """Name of the best file so far."""
        return self.steps[-1]

    @property
    def spare(self) -> str:
        """Name of the fp32 file with the fusions that pay on a CPU, or the nearest to it."""
        return self.graphs[-1]

    def tried(self, trials: Iterable[Trial]) -> "Found":
        """These results and more trials; the file that is kept is the best from then on."""
        more = tuple(trials)
        kept = tuple(t.name for t in more if t.kept)
        return replace(self, trials=self.trials + more, steps=self.steps + kept)


def reference(job: Job, found: Found) -> Found:
    """Store PyTorch's answers, which all variants are compared with."""
    answers.store_reference(job)
    weights = job.classifier.module().parameters()
    return replace(found, megabytes=sum(w.numel() * w.element_size() for w in weights) / 1e6)


def export(job: Job, found: Found) -> Found:
    """Write the model as ONNX."""
    name = variants.exported(job).name
    return found.tried([Trial("export", name, True, megabytes=_megabytes(job, name))])


def fuse(job: Job, found: Found) -> Found:
    """Fuse operators, and keep the fastest fp32 graph."""
    made = variants.fused(job)
    graphs = (found.best, *(v.name for v in made if not v.problem))
    raced = timing.race(job, graphs)
    best = timing.fastest(raced, found.best)
    found = replace(found, graphs=graphs, notes=tuple(v.note for v in made if v.note))
    return found.tried(_trial(job, "fuse", variant, best, raced) for variant in made)


def quantize(job: Job, found: Found) -> Found:
    """Quantize every fp32 graph, because the fastest one may be another in INT8."""
    return _in_fewer_bits(job, found, "quantize", variants.int8)


def to_fp16(job: Job, found: Found) -> Found:
    """Convert every fp32 graph to fp16, because the fastest one may be another there."""
    return _in_fewer_bits(job, found, "to_fp16", variants.fp16)


def _in_fewer_bits(
    job: Job, found: Found, stage: str, make: Callable[[Job, str], Variant]
) -> Found:
    graphs = found.graphs if job.effort.thorough else (found.best,)
    made = [make(job, graph) for graph in graphs]
    close = {v.name: answers.fidelity(job, job.file(v.name)) for v in made if not v.problem}
    raced = timing.race(job, (found.best, *close))
    right = {name: times for name, times in raced.items() if not _wrong(close[name])}
    best = timing.fastest(right, found.best)
    return found.tried(_trial(job, stage, v, best, raced, close.get(v.name)) for v in made)


def tune(job: Job, found: Found) -> Found:
    """Find the fastest token budget of a batch. The session keeps all cores, see notebook 04."""
    if job.texts.labels is None or not job.effort.thorough:
        return found
    file = job.file(found.best)
    most = answers.largest_budget(job, file)
    budgets = [budget for budget in job.target.budgets if budget <= most] or [most]
    entries: dict[str, Entry] = {str(budget): (file, job.recipe(budget)) for budget in budgets}
    verdicts = timing.compare(job, entries, job.texts.rows[: timing.TEXTS_TIMED]).verdicts
    raced = {name: {timing.TEXTS: ratio} for name, ratio in verdicts.items()}
    best = timing.fastest(raced, str(budgets[0]))
    trials = (
        Trial("tune", f"batches of {n} tokens", n == best, timing.why(n, best, times), times)
        for n, times in raced.items()
    )
    return replace(found, budget=int(best), trials=(*found.trials, *trials))


def evaluate(job: Job, found: Found) -> Found:
    """Time PyTorch, each file that was kept, and the version in use, side by side."""
    recipe = job.recipe(found.budget)
    entries: dict[str, Entry] = {PYTORCH: (job.classifier, recipe)}
    entries |= {name: (job.file(name), recipe) for name in found.steps}
    if job.previous:
        entries[BEFORE] = answers.as_served(job.previous)
    times: dict[str, dict[str, Measured]] = {}
    against: dict[str, Ratio] = {}
    for workload, rows in timing.workloads(job, found.budget).items():
        result = timing.compare(job, entries, rows)
        ratios = {PYTORCH: Ratio(1.0, 1.0, 1.0)} | result.verdicts
        times[workload] = {
            name: Measured(**asdict(ratio), p50_ms=result.timings[name].p50_ms)
            for name, ratio in ratios.items()
        }
        if job.previous:
            against[workload] = result.verdict(found.best, BEFORE)
    return replace(found, times=times, against=against)


SMALLER = {"int8": quantize, "fp16": to_fp16}


def stages(target: Target) -> tuple[Callable[[Job, Found], Found], ...]:
    """The stages for a target, in order."""
    return (reference, export, fuse, SMALLER[target.precision], tune, evaluate)


def _trial(
    job: Job,
    stage: str,
    variant: Variant,
    best: str,
    raced: Mapping[str, Ratios],
    close: Fidelity | None = None,
) -> Trial:
    name = variant.name
    if variant.problem:
        return Trial(stage, name, False, variant.problem)
    return Trial(
        stage,
        name,
        kept=name == best,
        reason=(_wrong(close) if close else None) or timing.why(name, best, raced[name]),
        times=raced[name],
        megabytes=_megabytes(job, name),
        agreement=close.agreement if close else None,
        difference=close.score.difference if close and close.score else None,
    )


def _wrong(close: Fidelity) -> str | None:
    """Why a candidate's answers rule it out before the gate, or None if they do not."""
    if close.agreement < LEAST_AGREEMENT:
        return f"answers differ too often: {close.agreement:.2%} agree"
    if close.score and close.score.worsening[1] > 0:  # the whole interval is worse
        return f"{close.score.metric} is worse: {close.score.difference:+.4f}"
    return None


def _megabytes(job: Job, name: str) -> float:
    return inspection.megabytes(job.file(name))
