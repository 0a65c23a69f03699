"""The stages of ``optimize``: each takes what the ones before found, and returns what it found.

A stage is a frozen dataclass of its inputs with a ``run``; its result is a frozen dataclass too,
which ``run.py`` keeps as JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.optimize.answers import Fidelity
from tutorial_utils.optimize.promotion import Previous
from tutorial_utils.optimize.timing import BUDGETS, Entry, Timer, fastest, told, why
from tutorial_utils.optimize.variants import Variant, VariantBuilder

LEAST_AGREEMENT = 0.95  # looser than the gate's: a quarter of the texts decides
PYTORCH, BEFORE = "pytorch", "promoted before"


@dataclass(frozen=True)
class Trial:
    """One candidate of a stage. times: workload → time relative to the best before it.

    agreement, difference: answers and score against PyTorch, on texts that the gate does not use.
    """

    stage: str
    name: str
    kept: bool
    reason: str = ""
    times: Mapping[str, Ratio] = field(default_factory=dict)
    megabytes: float | None = None
    agreement: float | None = None
    difference: float | None = None

    def __str__(self) -> str:
        parts = (told(self.times), self.reason)
        text = f"{'kept' if self.kept else 'rejected'} {self.name}"
        return ": ".join([text, *(part for part in parts if part)])


@dataclass(frozen=True)
class Measured:
    """Median milliseconds of a candidate, and its time relative to PyTorch with the interval."""

    p50_ms: float
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0

    @property
    def time(self) -> Ratio:
        return Ratio(self.ratio, self.low, self.high)


@dataclass(frozen=True)
class Bench:
    """What stages work with."""

    builder: VariantBuilder
    timer: Timer


@dataclass(frozen=True)
class Referenced:
    """megabytes: PyTorch's weights in fp32."""

    megabytes: float


@dataclass(frozen=True)
class Exported:
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Fused:
    """best: the fastest fp32 graph. graphs: all that answer like PyTorch."""

    best: str
    graphs: tuple[str, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Quantized:
    """best: the file that goes on, in 8 bits or fp32."""

    best: str
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Tuned:
    """budget: tokens of a batch."""

    budget: int
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """times: workload → candidate → its time. against: workload → time relative to ``BEFORE``."""

    times: Mapping[str, Mapping[str, Measured]]
    against: Mapping[str, Ratio]


@dataclass(frozen=True)
class Reference:
    """Keep PyTorch's answers, which all variants are compared with."""

    name: ClassVar[str] = "reference"

    def run(self, bench: Bench) -> Referenced:
        bench.builder.answers.store()
        weights = bench.builder.classifier.module().parameters()
        return Referenced(sum(w.numel() * w.element_size() for w in weights) / 1e6)


@dataclass(frozen=True)
class Export:
    """Write the model as ONNX."""

    name: ClassVar[str] = "export"

    def run(self, bench: Bench) -> Exported:
        made = bench.builder.exported()
        return Exported((Trial(self.name, made.name, True, megabytes=made.megabytes),))


@dataclass(frozen=True)
class Fuse:
    """Fuse operators; the fastest fp32 graph goes on."""

    name: ClassVar[str] = "fuse"

    def run(self, bench: Bench) -> Fused:
        made = bench.builder.fused()
        graphs = ("exported", *(v.name for v in made if not v.problem))
        raced = bench.timer.race({name: bench.builder.file(name) for name in graphs})
        best = fastest(raced, "exported")
        trials = (_trial(self.name, variant, best, raced) for variant in made)
        return Fused(best, graphs, tuple(trials), tuple(v.note for v in made if v.note))


@dataclass(frozen=True)
class Quantize:
    """Weights in 8 bits: of every fp32 graph, since the fastest may be another one then."""

    fused: Fused
    name: ClassVar[str] = "quantize"

    def run(self, bench: Bench) -> Quantized:
        builder, before = bench.builder, self.fused.best
        graphs = self.fused.graphs if bench.timer.effort.thorough else (before,)
        made = [builder.int8(graph) for graph in graphs]
        fidelity = {v.name: builder.answers.fidelity(v.path) for v in made if not v.problem}
        raced = bench.timer.race({name: builder.file(name) for name in (before, *fidelity)})
        right = {name: times for name, times in raced.items() if not _wrong(fidelity[name])}
        best = fastest(right, before)
        trials = (_trial(self.name, v, best, raced, fidelity.get(v.name)) for v in made)
        return Quantized(best, tuple(trials))


@dataclass(frozen=True)
class Tune:
    """The token budget of a batch; threads stay one a core, as notebook 04 finds."""

    quantized: Quantized
    name: ClassVar[str] = "tune"

    def run(self, bench: Bench) -> Tuned:
        builder, timer, default = bench.builder, bench.timer, str(BUDGETS[0])
        if builder.texts.labels is None or not timer.effort.thorough:
            return Tuned(BUDGETS[0])
        file, padding = builder.file(self.quantized.best), builder.classifier.padding
        entries = {str(budget): Entry(file, padding, budget) for budget in BUDGETS}
        verdicts = timer.compare(entries, timer.some_texts()).verdicts
        raced = {name: {"texts": ratio} for name, ratio in verdicts.items()}
        best = fastest(raced, default)
        trials = (
            Trial(self.name, f"batches of {n} tokens", n == best, why(n, best, times), times)
            for n, times in raced.items()
        )
        return Tuned(int(best), tuple(trials))


@dataclass(frozen=True)
class Evaluate:
    """PyTorch, each step that was kept, and the version promoted before, side by side."""

    fused: Fused
    quantized: Quantized
    tuned: Tuned
    previous: Previous
    name: ClassVar[str] = "evaluate"

    def run(self, bench: Bench) -> Evaluated:
        builder, budget, best = bench.builder, self.tuned.budget, self.quantized.best
        padding = builder.classifier.padding
        entries = {PYTORCH: Entry(builder.classifier, padding, budget)}
        for name in ("exported", self.fused.best, best):
            entries[name] = Entry(builder.file(name), padding, budget)
        if manifest := self.previous.manifest:
            entries[BEFORE] = Entry.of_version(
                self.previous.folder, manifest.forms[0].recipe, budget
            )
        times: dict[str, dict[str, Measured]] = {}
        against: dict[str, Ratio] = {}
        for workload, rows in bench.timer.workloads(budget).items():
            found = bench.timer.compare(entries, rows)
            times[workload] = {PYTORCH: Measured(found.timings[PYTORCH].p50_ms)}
            for name, r in found.verdicts.items():
                p50 = found.timings[name].p50_ms
                times[workload][name] = Measured(p50, r.ratio, r.low, r.high)
            if BEFORE in entries:
                against[workload] = found.verdict(best, BEFORE)
        return Evaluated(times, against)


def _trial(
    stage: str,
    variant: Variant,
    best: str,
    raced: Mapping[str, Mapping[str, Ratio]],
    fidelity: Fidelity | None = None,
) -> Trial:
    if variant.problem:
        return Trial(stage, variant.name, False, variant.problem)
    times = raced[variant.name]
    score = fidelity.score if fidelity else None
    return Trial(
        stage,
        variant.name,
        kept=variant.name == best,
        reason=(_wrong(fidelity) if fidelity else None) or why(variant.name, best, times),
        times=times,
        megabytes=variant.megabytes,
        agreement=fidelity.agreement if fidelity else None,
        difference=score.difference if score else None,
    )


def _wrong(found: Fidelity) -> str | None:
    """Why a candidate is not worth showing to the gate, or None."""
    if found.agreement < LEAST_AGREEMENT:
        return f"answers differ too often: {found.agreement:.2%} agree"
    if found.score and found.score.worsening[1] > 0:  # the whole interval is worse
        return f"{found.score.metric} is worse: {found.score.difference:+.4f}"
    return None
