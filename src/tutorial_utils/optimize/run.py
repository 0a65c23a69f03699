"""From a classifier to a promoted version: all stages in order, then the gate.

``kept`` runs them: a run that was killed continues where it stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tutorial_utils import quality
from tutorial_utils.data import labelled
from tutorial_utils.models import classifiers
from tutorial_utils.optimize import choice, facts, gate, kept, notes, promotion
from tutorial_utils.optimize.choice import Judged
from tutorial_utils.optimize.job import Effort, Job
from tutorial_utils.optimize.results import Found, Measured, Trial
from tutorial_utils.optimize.stages import evaluate
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
    folder = Path(out, "work", kept.fingerprint(classifier, data, effort, target, reading))
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
        machine=kept.describe(target),
        version=version,
        baseline=target.baseline,
        added=added,
        provider=target.provider,
    )


def _judged(job: Job, progress: Callable[[str], None]) -> tuple[Found, tuple[Judged, ...]]:
    """Run all stages and ask the gate. If only noise is in the way, measure once more, for longer.

    Otherwise, a machine that is busy with something else would decide. If the longer measurement
    cannot decide either, it is forgotten, so that the next run makes it again.
    """
    ready = kept.run_stages(job, progress)

    def ask(job: Job) -> tuple[Found, tuple[Judged, ...]]:
        found = kept.run_stage(job, evaluate, ready, progress)
        return found, choice.choose(job, found, _baseline(job.target))

    found, judged = ask(job)
    if not _undecided(judged):
        return found, judged
    longer = replace(job, effort=replace(job.effort, rounds=LONGER * job.effort.rounds))
    record, told = kept.record_of(longer, evaluate, ready), AGAIN
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
