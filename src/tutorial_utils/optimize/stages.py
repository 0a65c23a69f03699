"""The stages of ``optimize`` in order. Each takes the results so far and adds its own.

They build and time the candidates: INT8, INT8 with the most sensitive products in fp32, fp16, and
fp32, and those of ``providers``. ``choice`` then asks the gate which of them may be promoted.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import machine
from tutorial_utils.graph import inspection
from tutorial_utils.optimize import answers, timing, variants
from tutorial_utils.optimize.answers import Fidelity
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.results import (
    BEFORE,
    PYTORCH,
    Candidate,
    Found,
    Measured,
    Trial,
    Tuned,
)
from tutorial_utils.optimize.timing import Entry, Ratios
from tutorial_utils.optimize.variants import Variant

LEAST_AGREEMENT = 0.95  # looser than the gate's, because it is measured on fewer texts


def reference(job: Job, found: Found) -> Found:
    """Store PyTorch's answers, which all variants are compared with."""
    answers.store_reference(job)
    weights = job.classifier.module().parameters()
    return replace(found, megabytes=sum(w.numel() * w.element_size() for w in weights) / 1e6)


def export(job: Job, found: Found) -> Found:
    """Write the model as ONNX."""
    name = variants.exported(job).name
    found = replace(found, graphs=(name,), fp32=name)
    return found.tried(Trial("export", name, True, megabytes=_megabytes(job, name)))


def fuse(job: Job, found: Found) -> Found:
    """Fuse operators, and choose the fastest fp32 file."""
    made = variants.fused(job)
    graphs = (found.fp32, *(v.name for v in made if not v.problem))
    raced = timing.race(job, graphs)
    best = timing.fastest(raced, found.fp32)
    notes = tuple(v.note for v in made if v.note)
    trials = (trial(job, "fuse", variant, best, raced) for variant in made)
    return replace(found, graphs=graphs, fp32=best, notes=notes).tried(*trials)


def quantize(job: Job, found: Found) -> Found:
    """Quantize every fp32 file, because a different one may be fastest in INT8."""
    graphs = found.graphs if job.effort.thorough else (found.fp32,)
    return _fastest(job, found, "quantize", {g: variants.int8(job, g) for g in graphs}, "int8")


def protect(job: Job, found: Found) -> Found:
    """If answers suffer in INT8, keep the most sensitive products in fp32 until they do not."""
    eight = found.smaller[0] if found.smaller else None
    if eight and eight.promising(job.limits):
        return found
    source = eight.source if eight else found.fp32

    def enough(close: Fidelity) -> bool:
        return Candidate("", source, "int8", close).promising(job.limits)

    return _fastest(job, found, "protect", {source: variants.mixed(job, source, enough)}, "int8")


def to_fp16(job: Job, found: Found) -> Found:
    """Convert to fp16: on a GPU every fp32 file, because a different one may be fastest there.

    x86 CPUs still compute in fp32, but the file is half as large.
    """
    if not job.effort.thorough and any(one.promising(job.limits) for one in found.smaller):
        return found
    every = job.target.accelerated and job.effort.thorough
    graphs = found.graphs if every else (found.fp32,)
    return _fastest(job, found, "to_fp16", {g: variants.fp16(job, g) for g in graphs}, "fp16")


def _fastest(
    job: Job, found: Found, stage: str, made: Mapping[str, Variant], precision: str
) -> Found:
    """Add the fastest of the files that were made, by their sources, as a candidate."""
    usable = {v.name: v.close for v in made.values() if v.close and not v.problem}
    raced = timing.race(job, (found.fp32, *usable)) if len(usable) > 1 else {}
    right = [name for name in usable if not _wrong(usable[name])] or list(usable)
    right.reverse()  # of equal ones the file with the most fusions
    best = min(right, key=lambda name: timing.mean(raced[name]) if raced else 0, default="")
    trials = (trial(job, stage, v, best, raced) for v in made.values())
    found = found.tried(*trials)
    source = next((graph for graph, variant in made.items() if variant.name == best), None)
    if source is None:
        return found
    candidate = Candidate(best, source, precision, usable[best])
    return replace(found, smaller=(*found.smaller, candidate))


def tune(job: Job, found: Found) -> Found:
    """Find the fastest token budget of a batch and number of threads, for each provider.

    For the first of its candidates that will probably pass the gate, and may run in batches.
    """
    if job.texts.texts is None or not job.effort.thorough:
        return found
    likely: dict[str, Candidate] = {}
    for candidate in found.candidates:
        if candidate.promising(job.limits) and candidate.budget(job, 0) == 0:
            likely.setdefault(candidate.provider(job), candidate)
    for candidate in likely.values():
        found = _threads(job, _budget(job, found, candidate), candidate)
    return found


def _budget(job: Job, found: Found, candidate: Candidate) -> Found:
    most = answers.largest_budget(job, job.file(candidate.name))
    budgets = [budget for budget in job.target.budgets if budget <= most] or [most]
    settings = {f"batches of {budget} tokens": Tuned(budget) for budget in budgets}
    return _best_setting(job, found, candidate, settings)


def _threads(job: Job, found: Found, candidate: Candidate) -> Found:
    """Half of the threads: where a core offers two, they share its units."""
    if job.target.accelerated or machine.cores() == 1:
        return found
    best, half = found.best(job, candidate), machine.cores() // 2
    settings = {"all threads": best, f"threads: {half}": replace(best, threads=half)}
    return _best_setting(job, found, candidate, settings)


def _best_setting(
    job: Job, found: Found, candidate: Candidate, settings: Mapping[str, Tuned]
) -> Found:
    """Time the settings on the user's texts; the first is kept unless another is faster."""
    provider, file = candidate.provider(job), job.file(candidate.name)

    def entry(setting: Tuned) -> Entry:
        tried = replace(found, tuned={**found.tuned, provider: setting})
        return file, tried.recipe(job, candidate)

    entries = {name: entry(setting) for name, setting in settings.items()}
    verdicts = timing.compare(job, entries, job.texts.rows[: timing.TEXTS_TIMED]).verdicts
    raced = {name: {timing.TEXTS: ratio} for name, ratio in verdicts.items()}
    best = timing.fastest(raced, next(iter(settings)))
    told = provider if candidate.session else ""
    trials = (
        Trial("tune", name, name == best, timing.why(name, best, times), times, provider=told)
        for name, times in raced.items()
    )
    return replace(found, tuned={**found.tuned, provider: settings[best]}).tried(*trials)


def evaluate(job: Job, found: Found) -> Found:
    """Time PyTorch, the exporter's file, each candidate, and the version in use, side by side."""
    budget = found.best(job, found.plain).budget
    plain = job.recipe(budget)
    entries: dict[str, Entry] = {PYTORCH: (job.classifier, plain)}
    entries["exported"] = job.file("exported"), plain
    for candidate in reversed(found.candidates):
        entries[candidate.name] = job.file(candidate.name), found.recipe(job, candidate)
    if job.previous:
        entries[BEFORE] = answers.as_served(job.previous)
    times: dict[str, dict[str, Measured]] = {}
    against: dict[str, dict[str, Ratio]] = {}
    for workload, rows in timing.workloads(job, budget).items():
        result = timing.compare(job, entries, rows)
        ratios = {PYTORCH: Ratio(1.0, 1.0, 1.0)} | result.verdicts
        times[workload] = {
            name: Measured(**asdict(ratio), p50_ms=result.timings[name].p50_ms)
            for name, ratio in ratios.items()
        }
        if job.previous:
            names = (candidate.name for candidate in found.candidates)
            against[workload] = {name: result.verdict(name, BEFORE) for name in names}
    return replace(found, times=times, against=against)


def trial(
    job: Job,
    stage: str,
    variant: Variant,
    best: str,
    raced: Mapping[str, Ratios],
    provider: str = "",
) -> Trial:
    """A file as it goes into the report. best: name of the one that was kept."""
    name, close = variant.name, variant.close
    if variant.problem:
        return Trial(stage, name, False, variant.problem, provider=provider)
    why = timing.why(name, best, raced[name]) if name in raced else ""
    note = variant.note if close else None  # those of fp32 files are in the report already
    return Trial(
        stage,
        name,
        kept=name == best,
        reason="; ".join(filter(None, [(_wrong(close) if close else None) or why, note])),
        times=raced.get(name, {}),
        megabytes=_megabytes(job, name),
        agreement=close.agreement if close else None,
        difference=close.score.difference if close and close.score else None,
        provider=provider,
    )


def _wrong(close: Fidelity) -> str | None:
    """Why a candidate's answers rule it out, or None if they do not."""
    if close.agreement < LEAST_AGREEMENT:
        return f"answers differ too often: {close.agreement:.2%} agree"
    if close.score and close.score.worsening[1] > 0:  # the whole interval is worse
        return f"{close.score.metric} is worse: {close.score.difference:+.4f}"
    return None


def _megabytes(job: Job, name: str) -> float:
    return inspection.megabytes(job.file(name))
