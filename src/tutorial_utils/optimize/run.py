"""From a classifier to a promoted version: all stages in order, then the gate.

The results of each stage are stored, so a run that was killed continues where it stopped. They are
reused only if model, data, code, libraries, machine and effort are the same.
"""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tutorial_utils import quality
from tutorial_utils.core import hashing, machine, paths, provenance, records
from tutorial_utils.data import labelled
from tutorial_utils.models import classifiers
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize import choice, facts, gate, notes, promotion, providers
from tutorial_utils.optimize.choice import Judged
from tutorial_utils.optimize.job import Effort, Job
from tutorial_utils.optimize.ladder import Stage, stages
from tutorial_utils.optimize.results import Found, Measured, Trial
from tutorial_utils.optimize.stages import evaluate, protect, tune
from tutorial_utils.optimize.target import CPU, Target, torch_device
from tutorial_utils.registry import check_name
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import made_here

LONGER = 3  # times the rounds, if the first measurement is too noisy to decide
AGAIN = "The first times were too noisy to decide, so they were measured again, for longer."
STILL = (
    "The times are still too noisy to decide. Run the same command again when the machine is idle: "
    "it keeps the other stages, and measures the times anew."
)


@dataclass(frozen=True)
class Outcome:
    """The result of a run: promoted as ``version``, or refused because of the ``missed`` checks.

    judged: the candidates that the gate was asked about, the chosen one first; checks: its checks.
    times: workload → file → its time; PyTorch is first. quality: None without labels. baseline:
    what times are relative to. added: False if the registry held the version before. provider: of
    all that does not name another one.
    """

    name: str
    family: str
    task: str
    trials: tuple[Trial, ...]
    checks: tuple[gate.Check, ...]
    judged: tuple[Judged, ...]
    recipe: Recipe
    times: Mapping[str, Mapping[str, Measured]]
    quality: quality.Quality | None
    notes: tuple[str, ...]
    machine: str
    version: str | None
    baseline: str = CPU.baseline
    added: bool = True
    provider: str = CPU.provider

    @property
    def promoted(self) -> bool:
        return self.version is not None

    @property
    def missed(self) -> tuple[gate.Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


def optimize(
    source: str | Path,
    out: Path,
    *,
    data: Path | None = None,
    reading: labelled.Reading = labelled.Reading(),
    registry: Path | None = None,
    name: str = "model",
    limits: gate.Limits = gate.Limits(),
    effort: Effort = Effort(),
    target: Target = CPU,
    max_length: int | None = None,
    pooling: str | None = None,
    normalize: bool = False,
    batch_invariant: bool = False,
    progress: Callable[[str], None] = print,
) -> Outcome:
    """Make the classifier in ``source`` fast, and promote it to a registry if the gate allows it.

    data: labelled texts, read by ``labelled.read`` as ``reading`` says; without them, agreement is
    measured on random tokens and accuracy not at all. registry: ``out/registry`` by default.
    target: where the version is to run. max_length, pooling, normalize: see ``open_classifier``.
    batch_invariant: an answer must not depend on the texts that share a batch with it. A second
    call continues the first.

    Raises:
        BadName: ``name`` cannot be a model's name in a registry.
        ProviderUnavailable: the target's provider does not run here.
        BadClassifier, BadData: the model or the data cannot be used.
        CannotExport: the model cannot be exported to an ONNX file that computes the same.
    """
    check_name(name)
    target.check()
    session = made_here(target.session) if target.precision == "int8" else target.session
    target = replace(target, device=torch_device(target.device), session=session)
    if target.beside_cpu:
        progress(notes.BESIDE_CPU)
    model_folder = Path(registry or Path(out, "registry")) / name
    classifier = classifiers.open_classifier(source, max_length, pooling, normalize)
    given = labelled.read(data, classifier.labels, classifier.task, reading) if data else None
    classifier, texts = facts.ready(classifier, given, effort.max_texts)
    progress(str(facts.describe(source, classifier, data, given, texts)))
    cut = None if max_length else classifiers.cut(classifier)
    remarks = [*filter(None, [cut]), *facts.remarks(classifier, texts)]
    folder = Path(out, "work", fingerprint(classifier, data, effort, target, reading))
    previous, note = promotion.find_previous(model_folder, classifier, texts.reads, target.provider)
    job = Job(classifier, texts, folder, effort, previous, target, limits, batch_invariant)
    found, judged = _judged(job, progress)
    best = judged[0]
    recipe, evidence = found.recipe(job, best.candidate), best.evidence
    doubt = notes.doubt(job)
    if doubt:
        progress(f"Warning: {doubt}")
    told = [
        *found.notes,
        *([doubt] if doubt else []),
        *(given.notes if given else ()),
        *([note] if note else []),
        *remarks,
        *notes.measurement(job, judged, limits),
    ]
    version, added = None, True
    if not best.missed:
        told.append(notes.flips(job, best, recipe))  # a refused file will be in no batch
        spare = choice.for_any_machine(job, found, judged, _baseline(target))
        version, added, more = promotion.promote(job, model_folder, found, best, recipe, spare)
        told += more
    return Outcome(
        name=name,
        family=classifier.family,
        task=classifier.task,
        trials=found.trials,
        checks=best.checks,
        judged=judged,
        recipe=recipe,
        times=found.times,
        quality=evidence.score,
        notes=tuple(told),
        machine=_machine(target),
        version=version,
        baseline=target.baseline,
        added=added,
        provider=target.provider,
    )


def fingerprint(
    classifier: Classifier,
    data: Path | None,
    effort: Effort,
    target: Target = CPU,
    reading: labelled.Reading = labelled.Reading(),
) -> str:
    """A hash of everything that stored results depend on; see the module.

    It covers all files in the model's folder, or the commit of a model on the hub.
    """
    folder, pace = Path(classifier.source), os.environ.get("TUTORIAL_PACE")
    if folder.is_dir():  # its content counts, not its path
        classifier = replace(classifier, source="")
    known = (
        machine.describe(),
        _machine(target),
        effort,
        target,
        pace,
        reading,
        classifier,
        provenance.of(_run),
    )
    digest = hashlib.sha256(repr(known).encode())
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    for file in [*files, *([Path(data)] if data else [])]:
        digest.update(f"{file.name} {hashing.sha256(file)}".encode())
    return digest.hexdigest()[:16]


def _machine(target: Target) -> str:
    here = str(machine.describe())
    return f"{here} with {machine.gpus() or 'no GPU'}" if target.accelerated else here


def _run(job: Job, progress: Callable[[str], None]) -> Found:
    """Run all stages but the last; results of stages that an earlier run finished are read."""
    job.folder.mkdir(parents=True, exist_ok=True)
    found = Found()
    for stage in stages(job.target)[:-1]:
        found = _step(job, stage, found, progress)
    return found


def _step(job: Job, stage: Stage, found: Found, progress: Callable[[str], None]) -> Found:
    """Run one stage and store its results as JSON, or read those that are stored."""
    record, todo = _record(job, stage, found), stages(job.target)
    number = todo.index(stage) + 1
    label = f"[{number}/{len(todo)}] {stage.__name__}"
    if record.exists():
        progress(f"{label}: kept from the run before")
        return records.loads(Found, record.read_text(encoding="utf-8"))
    progress(f"{label} …")
    start, before = time.perf_counter(), len(found.trials)
    found = stage(job, found)
    for trial in found.trials[before:]:
        progress(f"    {trial}")
    paths.write(record, records.dumps(found))
    told = "" if len(found.trials) > before or number in (1, len(todo)) else ": nothing to do"
    progress(f"    {time.perf_counter() - start:.0f} s{told}")
    return found


def _record(job: Job, stage: Stage, found: Found) -> Path:
    """Where the results of a stage are stored; ``found``: what it starts from.

    The name has a hash of all that they depend on besides the job's fingerprint. Times are
    compared within one run, so another version in use needs a new measurement.
    """
    depends: tuple = ()
    if stage in (protect, tune):
        depends = job.limits, job.batch_invariant
    elif stage is providers.other_providers:
        depends = job.limits, providers.state(job)
    elif stage is evaluate:
        version = promotion.digest(job.previous) if job.previous else None
        depends = job.batch_invariant, job.effort, version
    key = hashlib.sha256(f"{depends} {records.dumps(found)}".encode()).hexdigest()[:8]
    return job.folder / f"{stage.__name__}_{key}.json"


def _judged(job: Job, progress: Callable[[str], None]) -> tuple[Found, tuple[Judged, ...]]:
    """Run all stages and ask the gate. If only noise is in the way, measure once more, for longer.

    Otherwise, a machine that is busy with something else would decide. If the longer measurement
    cannot decide either, it is forgotten, so that the next run makes it again.
    """
    ready = _run(job, progress)

    def ask(job: Job) -> tuple[Found, tuple[Judged, ...]]:
        found = _step(job, evaluate, ready, progress)
        return found, choice.choose(job, found, _baseline(job.target))

    found, judged = ask(job)
    if not _undecided(judged):
        return found, judged
    longer = replace(job, effort=replace(job.effort, rounds=LONGER * job.effort.rounds))
    record, told = _record(longer, evaluate, ready), AGAIN
    if record.exists():  # decided by an earlier run, though perhaps with other limits
        found, judged = ask(longer)
        if _undecided(judged):
            record.unlink()
    if not record.exists():
        progress("The times are too noisy to decide, so they are measured again, for longer.")
        found, judged = ask(longer)
        if _undecided(judged):
            record.unlink()
            told = STILL
            progress(told)
    return replace(found, notes=(*found.notes, told)), judged


def _baseline(target: Target) -> str:
    """What the gate calls that which times are relative to."""
    return f"{target.baseline} on the CPU" if target.beside_cpu else "PyTorch"


def _undecided(judged: tuple[Judged, ...]) -> bool:
    """Whether the gate refuses, and for one candidate only because of noise."""
    return bool(judged[0].missed) and any(one.noisy for one in judged)
