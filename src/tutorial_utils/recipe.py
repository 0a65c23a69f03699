"""A recipe and its manifest: everything serving needs to know about a model, as JSON beside it."""

import json
import re
import shutil
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from tutorial_utils import assets, machine
from tutorial_utils.batching import Padding
from tutorial_utils.errors import TutorialError
from tutorial_utils.session import SessionRecipe

MODEL, TOKENIZER, MANIFEST = "model.onnx", "tokenizer.json", "manifest.json"
PROFILE = "profile.json"  # what normal traffic looks like; a version may be without

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NUMBER = re.compile(r"[0-9]{1,9}")


class BadName(TutorialError, ValueError):
    """This cannot be the name of a model in a registry; the message says what can."""


class BadModel(TutorialError, ValueError):
    """A model folder is incomplete, was changed after it was written, or cannot be read."""


@dataclass(frozen=True)
class Recipe:
    """How a model file came to be, and how it wants to be run.

    token_budget: tokens of one length-sorted batch. max_length: tokens kept of one text.
    task: how the logits read, one of ``quality.TASKS``.
    workers: batches that run at the same time when many wait, on an equal share of the cores each.
    """

    steps: tuple[str, ...] = ()
    session: SessionRecipe = SessionRecipe()
    token_budget: int = 1024
    max_length: int = 512
    padding: Padding = Padding()
    task: str = "single_label"
    workers: int = 1

    def in_bulk(self) -> SessionRecipe:
        """The session for many batches: each of ``workers`` calls it and has its own cores.

        A single text is answered sooner by ``session``, with all cores.
        """
        if self.workers == 1:
            return self.session
        return replace(self.session, threads=max(1, machine.cores() // self.workers))

    @classmethod
    def from_dict(cls, values: dict) -> "Recipe":
        rooms = {
            "session": SessionRecipe.from_dict(values["session"]),
            "padding": Padding(**values.get("padding", {})),
            "steps": tuple(values["steps"]),
        }
        return cls(**(values | rooms))


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says of the folder that it lies in."""

    name: str
    version: str
    labels: tuple[str, ...]
    recipe: Recipe
    files: dict[str, str]  # name → sha256
    figures: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""


def check_name(name: str) -> str:
    """Return ``name`` when a model can be written and served under it.

    The name is a folder, a part of URLs and a command-line argument.

    Raises:
        BadName: it cannot.
    """
    if not NAME.fullmatch(name):
        raise BadName(
            f"{name!r} cannot be a model's name: use 1 to 100 letters, digits, '.', '_' and '-', "
            "beginning with a letter or a digit."
        )
    return name


def numbers(registry: Path, name: str) -> list[str]:
    """Numbers of all versions on disk, oldest first, withdrawn ones included.

    Raises:
        BadName: ``name`` cannot be a model's name.
    """
    folder = Path(registry) / check_name(name)
    found = (p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ()
    return sorted((n for n in found if NUMBER.fullmatch(n)), key=int)


def write_version(
    registry: Path,
    name: str,
    model: Path,
    tokenizer: Path,
    recipe: Recipe,
    labels: tuple[str, ...],
    figures: dict[str, float] | None = None,
    profile: dict | None = None,
) -> Path:
    """Add a version of a model to a registry folder: ``registry/name/N``. Return that folder.

    The folder appears under its number only when it is complete. Several threads and processes
    may write at the same time: each gets a number of its own. A writer that is killed leaves a
    hidden folder behind, which nothing reads.

    profile: of ``Profile.to_dict``.

    Raises:
        BadName: ``name`` cannot be a model's name.
    """
    model_folder = Path(registry) / check_name(name)
    scratch = model_folder / f".incomplete-{uuid.uuid4().hex}"
    scratch.mkdir(parents=True)
    try:
        shutil.copyfile(model, scratch / MODEL)
        shutil.copyfile(tokenizer, scratch / TOKENIZER)
        if profile is not None:
            (scratch / PROFILE).write_text(json.dumps(profile), encoding="utf-8")
        manifest = Manifest(
            name=name,
            version="",
            labels=tuple(labels),
            recipe=recipe,
            files={path.name: assets.sha256(path) for path in sorted(scratch.iterdir())},
            figures=figures or {},
            versions=machine.versions(),
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        with FileLock(model_folder / ".lock"):
            last = max(map(int, numbers(registry, name)), default=0)
            manifest = replace(manifest, version=str(last + 1))
            text = json.dumps(asdict(manifest), indent=2)
            (scratch / MANIFEST).write_text(text, encoding="utf-8")
            return scratch.rename(model_folder / manifest.version)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version folder, its files verified.

    Raises:
        BadModel: the manifest or a file is missing or broken; the message names it and the mend.
    """
    folder = Path(folder)
    mend = "Write a new version with `python -m tutorial_utils publish`, or serve another one."
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        values |= {"recipe": Recipe.from_dict(values["recipe"]), "labels": tuple(values["labels"])}
        manifest = Manifest(**values)
    except FileNotFoundError:
        raise BadModel(f"{folder.name}: there is no {MANIFEST}. {mend}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{folder.name}: {MANIFEST} cannot be read ({error}). {mend}") from None
    if not {MODEL, TOKENIZER} <= set(manifest.files):
        raise BadModel(f"{folder.name}: {MANIFEST} must list {MODEL} and {TOKENIZER}. {mend}")
    for file, expected in manifest.files.items():
        path = folder / file
        if Path(file).name != file or not path.is_file() or path.is_symlink():
            raise BadModel(f"{folder.name}: {file} is missing or not a file of this folder. {mend}")
        if assets.sha256(path) != expected:
            raise BadModel(f"{folder.name}: {file} is not the file that was promoted. {mend}")
    return manifest
