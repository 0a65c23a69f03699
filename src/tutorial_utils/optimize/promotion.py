"""The version that a new one is compared with, and how a new one gets into the registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutorial_utils import quality
from tutorial_utils.core import hashing, machine
from tutorial_utils.drift import profile
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize.answers import Fidelity
from tutorial_utils.optimize.variants import VariantBuilder
from tutorial_utils.registry import (
    MODEL,
    BadModel,
    Manifest,
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


@dataclass(frozen=True)
class Previous:
    """The newest version in use, or a note on why there is none to compare with."""

    registry: Path
    name: str
    manifest: Manifest | None = None
    note: str | None = None

    @property
    def version(self) -> str | None:
        return self.manifest.version if self.manifest else None

    @property
    def folder(self) -> Path:
        return self.registry / self.name / (self.version or "")

    def is_file(self, file: Path) -> bool:
        """Whether ``file`` is this version's model."""
        return bool(self.version) and hashing.sha256(self.folder / MODEL) == hashing.sha256(file)


def find_previous(registry: Path, name: str, classifier: Classifier) -> Previous:
    """The newest version of ``name`` that was not withdrawn, if it can be compared with."""
    in_use = versions(registry, name)
    if not in_use:
        return Previous(registry, name)
    try:
        manifest = read_manifest(registry / name / in_use[-1])
    except BadModel as error:
        note = f"The version before was not compared with: {error}"
        return Previous(registry, name, note=note)
    if manifest.labels != classifier.labels:
        note = f"Version {manifest.version} has other labels, and was not compared with."
        return Previous(registry, name, note=note)
    return Previous(registry, name, manifest)


def reference_profile(
    builder: VariantBuilder, file: Path, found: Fidelity
) -> dict[str, Any] | None:
    """What the service detects drift by, from the texts that the gate judged on.

    None where there are none, or fewer than ``profile.LEAST``.
    """
    texts = builder.texts.judging
    if builder.texts.labels is None or len(texts) < profile.LEAST:
        return None
    logits = builder.answers.of_file(file)[texts]
    task = builder.classifier.task
    # As if one text more agreed and one did not: none in a few hundred is not none ever.
    differ = (1 - found.agreement) * len(texts)
    return profile.Profile.of_rows(
        [builder.texts.rows[i] for i in texts],
        quality.probabilities(logits, task),
        never=profile.unknown_ids(builder.classifier.tokenizer()),
        task=task,
        disagreement=(differ + 1) / (len(texts) + 2),
    ).to_dict()


def promote(
    builder: VariantBuilder,
    previous: Previous,
    file: Path,
    recipe: Recipe,
    figures: dict[str, float],
    reference: dict[str, Any] | None,
) -> str:
    """Write the next version into the registry; return its number."""
    tokenizer = builder.folder / "tokenizer.json"
    builder.classifier.tokenizer().save(str(tokenizer))
    precision = "int8" if file.stem.endswith("int8") else "fp32"
    return write_version(
        previous.registry,
        previous.name,
        [ModelForm(file, recipe, precision, machine.describe().features)],
        tokenizer,
        builder.classifier.labels,
        task=builder.classifier.task,
        label_spread=builder.answers.spread,
        figures=figures,
        profile=reference,
    ).name
