"""The version that a new one is compared with, and how a new one gets into the registry."""

from pathlib import Path
from typing import Any

from tutorial_utils import quality
from tutorial_utils.core import hashing, machine
from tutorial_utils.drift import profile
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize import answers
from tutorial_utils.optimize.gate import Evidence
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.timing import ONE_TEXT
from tutorial_utils.registry import (
    MODEL,
    BadModel,
    ModelForm,
    read_manifest,
    versions,
    write_version,
)
from tutorial_utils.runtime.recipe import Recipe

NO_PROFILE = (
    f"The version has no profile, so drift cannot be seen: that needs {profile.LEAST} texts to "
    "judge on (--data)."
)


def find_previous(folder: Path, classifier: Classifier) -> tuple[Path | None, str | None]:
    """The newest version in use, or None and a note on why it cannot be compared with.

    folder: of all versions of the model, in the registry.
    """
    in_use = versions(folder.parent, folder.name)
    if not in_use:
        return None, None
    newest = folder / in_use[-1]
    try:
        labels = read_manifest(newest).labels
    except BadModel as error:
        return None, f"The version before was not compared with: {error}"
    if labels != classifier.labels:
        return None, f"Version {newest.name} has other labels, and was not compared with."
    return newest, None


def promote(
    job: Job, folder: Path, file: Path, recipe: Recipe, evidence: Evidence
) -> tuple[str, str | None]:
    """Write the next version into the registry, unless ``file`` is the version in use already.

    Returns the number of the version, and a note on what is worth knowing of it, if anything.
    """
    previous = job.previous
    if previous and hashing.sha256(previous / MODEL) == hashing.sha256(file):
        return previous.name, f"This file is version {previous.name} already; nothing was added."
    figures = {"agreement": evidence.agreement, "size": evidence.size}
    figures["time"] = evidence.time[ONE_TEXT].ratio
    if evidence.score:
        figures[evidence.score.metric] = evidence.score.score
    tokenizer = job.folder / "tokenizer.json"
    job.classifier.tokenizer().save(str(tokenizer))
    precision = "int8" if file.stem.endswith("int8") else "fp32"
    normal = _profile(job, file, evidence.agreement)
    written = write_version(
        folder.parent,
        folder.name,
        [ModelForm(file, recipe, precision, machine.describe().features)],
        tokenizer,
        job.classifier.labels,
        task=job.classifier.task,
        label_spread=answers.spread(job),
        figures=figures,
        profile=normal,
    )
    return written.name, None if normal else NO_PROFILE


def _profile(job: Job, file: Path, agreement: float) -> dict[str, Any] | None:
    """What the service detects drift by, made from the texts that the gate judged on.

    None where there are none, or fewer than ``profile.LEAST``.
    """
    texts, task = job.texts.judging, job.classifier.task
    if job.texts.labels is None or len(texts) < profile.LEAST:
        return None
    # As if one text more agreed and one did not: none in a few hundred is not none ever.
    differ = (1 - agreement) * len(texts)
    return profile.Profile.of_rows(
        [job.texts.rows[i] for i in texts],
        quality.probabilities(answers.of_file(job, file)[texts], task),
        never=profile.unknown_ids(job.classifier.tokenizer()),
        task=task,
        disagreement=(differ + 1) / (len(texts) + 2),
    ).to_dict()
