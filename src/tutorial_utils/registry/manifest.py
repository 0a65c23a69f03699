"""``manifest.json``: what a version of a model is, and how to run it.

Format 2, the one written here:

    {"format": 2, "name": …, "version": …, "task": …, "reads": …, "labels": […],
     "label_spread": […] or null,
     "forms": [{"file": …, "precision": …, "features": […], "recipe": {…}}, …],
     "files": {name: sha256}, "figures": {…}, "versions": {…}, "created": …}

Format 1 had no ``format``, a single model file, and the task inside its recipe.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tutorial_utils.core import records
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.core.hashing import sha256
from tutorial_utils.registry.files import MANIFEST, MODEL, TOKENIZER, WITHDRAWN
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import PROVIDERS
from tutorial_utils.tasks import TASKS

FORMAT = 2
READS = ("text", "pair")
FIX = (
    "Write the version again (`optimize` for your own model, `publish` for the course's model), "
    "or serve another one."
)


class BadModel(TutorialError, ValueError):
    """A version is incomplete, was changed after it was written, or cannot be read."""


@dataclass(frozen=True)
class ModelForm:
    """One file of a model, and how to run it.

    file: its name in the version's folder; when writing, the path of the file to copy.
    precision: of most weights, as ``fp32``, ``fp16`` or ``int8``.
    features: processor features that it was tuned on, as ``machine.FEATURES`` names them.
    """

    file: Path
    recipe: Recipe = Recipe()
    precision: str = "fp32"
    features: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the execution provider, as ``CPUExecutionProvider``."""
        provider = self.recipe.session.provider
        return PROVIDERS.get(provider, provider)


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says about its folder.

    forms: at least one; the first that suits the machine is served, see ``forms.choose``.
    files: name → SHA-256 of every other file. task: how to read the logits, one of
    ``tasks.TASKS``. reads: ``text``, or ``pair`` for two texts at a time. label_spread: standard
    deviation of each target of a regression, in the target's own unit; None where it was not
    measured. figures: measured at promotion.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    forms: tuple[ModelForm, ...]
    files: dict[str, str]
    task: str = "single_label"
    reads: str = "text"
    label_spread: tuple[float, ...] | None = None
    figures: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=2, default=os.fspath)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read a manifest of any format so far.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is not a manifest.
        """
        values = json.loads(text)
        version = values.pop("format", 1)
        if version == 1:
            recipe = values.pop("recipe")
            values["task"] = recipe.pop("task", "single_label")
            precision = "int8" if any("int8" in step for step in recipe["steps"]) else "fp32"
            values["forms"] = [{"file": MODEL, "recipe": recipe, "precision": precision}]
        elif version != FORMAT:
            raise ValueError(f"its format is {version}, not {FORMAT}: update tutorial_utils")
        if any("recipe" not in form for form in values["forms"]):
            raise ValueError("a form has no recipe")
        if spread := values.get("label_spread"):
            values["label_spread"] = list(map(float, spread))
        manifest = records.typed(cls, values)
        if manifest.task not in TASKS or not manifest.forms:
            raise ValueError(f"it needs a form of the model and a task among {', '.join(TASKS)}")
        if manifest.reads not in READS:
            raise ValueError(f"reads must be one of {', '.join(READS)}")
        if manifest.label_spread and len(manifest.label_spread) != len(manifest.labels):
            raise ValueError("label_spread needs a number for each label")
        return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version's folder, with all files verified against their checksums.

    ONNX Runtime reads no weights from outside the model's folder, see ``loading.load``. So the
    folder may hold only files that were verified. Files with the weights of large models are
    listed in ``files`` like any other.

    Raises:
        BadModel: the manifest or a file is missing, changed or unreadable, or the folder holds
            something else; the message names it and says what to do.
    """
    folder = Path(folder)
    try:
        manifest = Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadModel(f"{folder.name}: there is no {MANIFEST}. {FIX}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel(f"{folder.name}: {MANIFEST} cannot be read ({error}). {FIX}") from None
    for needed in (TOKENIZER, *(str(form.file) for form in manifest.forms)):
        if needed not in manifest.files:
            raise BadModel(f"{folder.name}: {MANIFEST} has no checksum of {needed}. {FIX}")
    for file, expected in manifest.files.items():
        path = folder / file
        if Path(file).name != file or not path.is_file() or path.is_symlink():
            raise BadModel(f"{folder.name}: {file} is missing or not a file of this folder. {FIX}")
        if sha256(path) != expected:
            raise BadModel(f"{folder.name}: {file} is not the file that was promoted. {FIX}")
    for path in folder.iterdir():
        if path.name not in {MANIFEST, WITHDRAWN, *manifest.files}:
            raise BadModel(
                f"{folder.name}: {MANIFEST} does not list {path.name}, so it is not verified, but "
                f"the model could read weights from it. Remove it. {FIX}"
            )
    return manifest
