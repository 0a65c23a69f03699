"""From a classifier to a promoted version: all stages in turn, then the gate.

What a stage found is kept on disk, so a run that was killed goes on where it stopped. It is used
again only where model, data, code, libraries, machine and effort are the same.
"""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from tutorial_utils import quality
from tutorial_utils.core import hashing, machine, paths, provenance, records
from tutorial_utils.data import labelled
from tutorial_utils.graph import inspection
from tutorial_utils.models import classifiers
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize import gate, promotion, stages
from tutorial_utils.optimize.answers import Fidelity
from tutorial_utils.optimize.effort import Effort
from tutorial_utils.optimize.promotion import Previous
from tutorial_utils.optimize.stages import Bench, Measured, Trial
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.optimize.timing import ONE_TEXT, TUNED, Timer
from tutorial_utils.optimize.variants import VariantBuilder
from tutorial_utils.registry import check_name
from tutorial_utils.runtime.recipe import Recipe

STAGES = ("reference", "export", "fuse", "quantize", "tune", "evaluate")
Result = TypeVar("Result")
ResultT_co = TypeVar("ResultT_co", covariant=True)


@dataclass(frozen=True)
class Outcome:
    """What came out: promoted to ``version``, or refused with the checks that were missed.

    times: workload → candidate → its time, PyTorch's first.
    """

    name: str
    family: str
    task: str
    trials: tuple[Trial, ...]
    checks: tuple[gate.Check, ...]
    recipe: Recipe
    times: Mapping[str, Mapping[str, Measured]]
    quality: quality.Quality | None
    notes: tuple[str, ...]
    machine: str
    version: str | None

    @property
    def promoted(self) -> bool:
        return self.version is not None

    @property
    def missed(self) -> tuple[gate.Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


@dataclass(frozen=True)
class Found:
    """The results of all stages."""

    reference: stages.Referenced
    exported: stages.Exported
    fused: stages.Fused
    quantized: stages.Quantized
    tuned: stages.Tuned
    evaluated: stages.Evaluated

    @property
    def trials(self) -> tuple[Trial, ...]:
        tried = (self.exported, self.fused, self.quantized, self.tuned)
        return tuple(trial for result in tried for trial in result.trials)


def optimize(
    source: str | Path,
    out: Path,
    *,
    data: Path | None = None,
    registry: Path | None = None,
    name: str = "model",
    limits: gate.Limits = gate.Limits(),
    effort: Effort = Effort(),
    progress: Callable[[str], None] = print,
) -> Outcome:
    """Make the classifier in ``source`` fast, and promote it to a registry if the gate lets it.

    data: labelled texts (``labelled.read``); without them random tokens measure agreement only.
    registry: where versions go, ``out/registry`` by default. Calling it again continues.

    Raises:
        BadName: ``name`` cannot be a model's name in a registry.
        BadClassifier, BadData: what was given cannot be used.
        CannotExport: the model has no ONNX form that computes the same.
    """
    check_name(name)
    out = Path(out)
    classifier = classifiers.open_classifier(source)
    given = labelled.read(data, classifier.labels, classifier.task) if data else None
    texts = Texts.of(classifier, given, effort.max_texts)
    folder = out / "work" / fingerprint(classifier, data, effort)
    bench = Bench(VariantBuilder(classifier, texts, folder), Timer(classifier, texts, effort))
    previous = promotion.find_previous(Path(registry or out / "registry"), name, classifier)
    found = _run(bench, previous, Keeper(folder, progress))
    return _judge(bench.builder, found, previous, limits)


def fingerprint(classifier: Classifier, data: Path | None, effort: Effort) -> str:
    """What kept results depend on: model, data, code, libraries, machine and effort.

    All files of the model's folder count, the tokenizer's too; of a model on the hub its commit.
    """
    folder, pace = Path(classifier.source), os.environ.get("TUTORIAL_PACE")
    if folder.is_dir():  # its content counts, wherever it lies
        classifier = replace(classifier, source="")
    known = (machine.describe(), effort, pace, classifier, provenance.of(_run))
    digest = hashlib.sha256(repr(known).encode())
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    for file in [*files, *([Path(data)] if data else [])]:
        digest.update(f"{file.name} {hashing.sha256(file)}".encode())
    return digest.hexdigest()[:16]


class Stage(Protocol[ResultT_co]):
    """See ``stages``."""

    name: ClassVar[str]

    def run(self, bench: Bench) -> ResultT_co: ...


@dataclass(frozen=True)
class Keeper:
    """Runs stages, and keeps what they found in ``folder``. progress: told what happens."""

    folder: Path
    progress: Callable[[str], None]

    def result(
        self, stage: Stage[Result], bench: Bench, kind: type[Result], key: str = ""
    ) -> Result:
        """What ``stage`` found before under ``key``, or what it finds now."""
        label = f"[{STAGES.index(stage.name) + 1}/{len(STAGES)}] {stage.name}"
        record = self.folder / f"{stage.name}{key}.json"
        if record.exists():
            self.progress(f"{label}: kept from the run before")
            return records.loads(kind, record.read_text(encoding="utf-8"))
        start = time.perf_counter()
        self.progress(f"{label} …")
        result = stage.run(bench)
        for trial in getattr(result, "trials", ()):
            self.progress(f"    {trial}")
        with paths.replacing(record) as temporary:
            temporary.write_text(records.dumps(result), encoding="utf-8")
        self.progress(f"    {time.perf_counter() - start:.0f} s")
        return result


def _run(bench: Bench, previous: Previous, keeper: Keeper) -> Found:
    bench.builder.folder.mkdir(parents=True, exist_ok=True)
    reference = keeper.result(stages.Reference(), bench, stages.Referenced)
    exported = keeper.result(stages.Export(), bench, stages.Exported)
    fused = keeper.result(stages.Fuse(), bench, stages.Fused)
    quantized = keeper.result(stages.Quantize(fused), bench, stages.Quantized)
    tuned = keeper.result(stages.Tune(quantized), bench, stages.Tuned)
    evaluate = stages.Evaluate(fused, quantized, tuned, previous)
    # Measured again where another version is in use: versions are compared in one run.
    key = f"_{previous.version}" if previous.version else ""
    evaluated = keeper.result(evaluate, bench, stages.Evaluated, key)
    return Found(reference, exported, fused, quantized, tuned, evaluated)


def _judge(
    builder: VariantBuilder, found: Found, previous: Previous, limits: gate.Limits
) -> Outcome:
    """Check the best candidate against the limits; promote it when it keeps to all of them."""
    best, classifier = found.quantized.best, builder.classifier
    file, recipe = builder.file(best), _recipe(found, classifier)
    right = builder.answers.fidelity(file, builder.texts.judging)
    evidence = _evidence(builder, found, previous, file, right)
    checks = gate.check(evidence, limits)
    notes = [*found.fused.notes, *filter(None, [previous.note]), *_notes(builder, right, limits)]
    version = None
    if all(check.passed for check in checks):
        if previous.is_file(file):
            version = previous.version
            notes.append(f"This file is version {version} already; nothing was added.")
        else:
            figures = {"agreement": right.agreement, "size": evidence.size}
            figures |= {"time": evidence.time[ONE_TEXT].ratio}
            figures |= {right.score.metric: right.score.score} if right.score else {}
            reference = promotion.reference_profile(builder, file, right)
            notes += [] if reference else [promotion.NO_PROFILE]
            version = promotion.promote(builder, previous, file, recipe, figures, reference)
    return Outcome(
        name=previous.name,
        family=classifier.family,
        task=classifier.task,
        trials=found.trials,
        checks=checks,
        recipe=recipe,
        times=found.evaluated.times,
        quality=right.score,
        notes=tuple(notes),
        machine=str(machine.describe()),
        version=version,
    )


def _evidence(
    builder: VariantBuilder, found: Found, previous: Previous, file: Path, right: Fidelity
) -> gate.Evidence:
    before = None
    if previous.manifest:
        reference = builder.answers.of_version(previous.folder, previous.manifest.forms[0].recipe)
        before = builder.answers.fidelity(file, builder.texts.judging, reference).score
    best = found.quantized.best
    return gate.Evidence(
        agreement=right.agreement,
        time={workload: times[best].time for workload, times in found.evaluated.times.items()},
        size=inspection.weight_megabytes(file) / found.reference.megabytes,
        score=right.score,
        previous=previous.version,
        previous_score=before,
        previous_time=found.evaluated.against,
    )


def _recipe(found: Found, classifier: Classifier) -> Recipe:
    steps = ("exported", found.fused.best, found.quantized.best, "tuned")
    return Recipe(
        steps=tuple(dict.fromkeys(steps)),
        session=TUNED,
        token_budget=found.tuned.budget,
        max_length=classifier.max_length,
        padding=classifier.padding,
    )


def _notes(builder: VariantBuilder, right: Fidelity, limits: gate.Limits) -> list[str]:
    count, score = len(builder.texts), right.score
    if not score:
        return [
            "Accuracy was not measured: no labelled texts were given (--data). Agreement is that "
            f"on {count} rows of random tokens, which says less than real texts would."
        ]
    notes = [f"Chosen by a quarter of {count:,} texts, judged by the others."]
    wide = score.high is not None and score.low is not None and score.high - score.low
    if wide and wide > 2 * gate.tolerated(score, limits):
        notes.append(
            f"The interval of the {score.metric} difference is wider than the tolerance: with "
            "more labelled texts the gate would decide more surely."
        )
    return notes
