"""Find the version that a new one is compared with, and add the new one to the registry."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_utils import registry
from tutorial_utils.bench.intervals import digits
from tutorial_utils.core import hashing, machine, paths
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.drift import profile
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize import answers
from tutorial_utils.optimize.choice import Judged
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.results import Found
from tutorial_utils.optimize.target import CPU
from tutorial_utils.optimize.timing import ONE_TEXT
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.tasks import named

NO_PROFILE = (
    "The version has no profile, so the service cannot detect drift. A profile needs at least "
    f"{profile.LEAST} texts after a quarter is set aside (--data)."
)


def find_previous(
    folder: Path, classifier: Classifier, reads: str = "text", provider: str = "cpu"
) -> tuple[Path | None, str | None]:
    """The newest version in use, or None and a note that says why there is no comparison.

    folder: the model's folder in the registry, with all its versions.
    """
    in_use = registry.versions(folder.parent, folder.name)
    if not in_use:
        return None, None
    newest = folder / in_use[-1]
    none = f"There was no comparison with version {newest.name}"
    try:
        manifest = registry.read_manifest(newest)
        registry.choose(manifest)
    except registry.BadModel as error:
        return None, f"{none}: {error}"
    theirs = manifest.forms[0].recipe.session.provider
    theirs = "cpu" if theirs in (s.provider for s in CPU.also) else theirs
    if theirs != provider:
        raise InvalidArgument(
            f"Version {newest.name} of {folder.name!r} is for {theirs}, but this run is for "
            f"{provider}. Services follow a name, so each provider needs one of its own: give "
            "another --model."
        )
    known = manifest.labels, manifest.task, manifest.reads
    if known != (classifier.labels, classifier.task, reads):
        return None, f"{none}: it has other labels or inputs."
    file, recipe = answers.as_served(newest)
    try:
        onnx_predict(file, recipe.session)(batching.pad([[classifier.vocabulary[1] - 1]]))
    except Exception as error:  # of ONNX Runtime
        return None, f"{none}: it cannot read this model's tokens ({answers.cause(error)})."
    return newest, None


def promote(
    job: Job,
    folder: Path,
    found: Found,
    best: Judged,
    recipe: Recipe,
    spare: Judged | None = None,
) -> tuple[str, bool, list[str]]:
    """Write the next version into the registry, unless it would equal the version in use.

    spare: what runs where the provider of ``best`` does not, see ``choice.for_any_machine``.

    Returns:
        The number of the version, whether it is new, and notes for the report.
    """
    tokenizer, file = job.folder / registry.TOKENIZER, job.file(best.candidate.name)
    evidence, precision = best.evidence, best.candidate.precision
    job.classifier.tokenizer().save(str(tokenizer))
    if job.previous and _equal(job.previous, file, tokenizer, recipe):
        name = job.previous.name
        note = f"Version {name} has these files and this recipe already; nothing was added."
        return name, False, [note]
    figures = {close.name: close.value for close in evidence.close} | {"size": evidence.size}
    figures["time"] = evidence.time[ONE_TEXT].ratio
    if evidence.score:
        figures[evidence.score.metric] = evidence.score.score
    features = () if job.target.accelerated else machine.describe().features
    forms = [registry.ModelForm(file, recipe, precision, features)]
    if spare:
        own, how = spare.candidate, found.recipe(job, spare.candidate)
        forms.append(registry.ModelForm(job.file(own.name), how, own.precision, features))
    elif job.target.accelerated or best.candidate.session:
        steps = tuple(dict.fromkeys((found.graphs[0], found.spare)))
        cpu = replace(recipe, steps=steps, session=CPU.session, token_budget=CPU.budget)
        forms.append(registry.ModelForm(job.file(found.spare), cpu, "fp32"))
    outputs = answers.of_file(job, file, recipe)
    normal = _profile(job, outputs)
    written = registry.write_version(
        folder.parent,
        folder.name,
        forms,
        tokenizer,
        job.classifier.labels,
        task=job.classifier.task,
        reads=job.texts.reads,
        label_spread=answers.spread(job),
        figures=figures,
        profile=normal,
    )
    notes = [f"Drift is watched in: {', '.join(normal['features'])}." if normal else NO_PROFILE]
    if job.previous:
        others = _others(job, outputs, answers.of_version(job, job.previous)).mean()
        name = job.previous.name
        notes.append(f"{others:.1%} of the texts get another answer than from version {name}.")
    if len(forms) > 1:
        notes.append(_second(forms[1], spare))
    return written.name, True, notes


def _second(form: registry.ModelForm, judged: Judged | None) -> str:
    """A remark on the form for machines without the first one's provider."""
    took = f", in {digits(judged.time)} × the time of {judged.evidence.baseline}" if judged else ""
    return (
        f"The version has a second file ({form.file.stem}, {form.precision}){took}. A service "
        f"opens it where the first one's provider is missing."
    )


def digest(version: Path) -> str:
    """Identify a version whatever its number: from its manifest, which has all checksums."""
    return hashing.sha256(version / registry.MANIFEST)[:16]


def _equal(version: Path, file: Path, tokenizer: Path, recipe: Recipe) -> bool:
    """Whether a version would answer as these files do, in the same way."""
    manifest = registry.read_manifest(version)
    form = registry.choose(manifest)
    weights = paths.weights_of(file)
    known = manifest.files[str(form.file)], manifest.files[registry.TOKENIZER], form.recipe
    return known == (hashing.sha256(file), hashing.sha256(tokenizer), recipe) and (
        manifest.files.get(weights.name) == (hashing.sha256(weights) if weights.exists() else None)
    )


def _others(job: Job, outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which texts for the gate get other answers than the reference's, bool (n,)."""
    task, judging = named(job.classifier.task), job.texts.judging
    if outputs.shape != reference.shape:  # vectors of another encoder
        return np.ones(len(judging), bool)
    ours, theirs = (task.answers(given[judging]) for given in (outputs, reference))
    return ~task.same(ours, theirs, answers.spread(job))


def _profile(job: Job, outputs: np.ndarray) -> dict[str, Any] | None:
    """The drift profile of the texts that the gate used.

    None if there are fewer than ``profile.LEAST`` of them.
    """
    texts, task = job.texts, named(job.classifier.task)
    if texts.texts is None or len(texts.judging) < profile.LEAST:
        return None
    others = _others(job, outputs, answers.reference(job))
    return profile.Profile.of_rows(
        [texts.rows[i] for i in texts.judging],
        task.answers(outputs[texts.judging]),
        never=profile.unknown_ids(job.classifier.tokenizer()),
        task=task.name,
        # Rule of succession: if all of a few hundred texts agree, some text still may not.
        disagreement=(int(others.sum()) + 1) / (len(others) + 2),
    ).to_dict()
