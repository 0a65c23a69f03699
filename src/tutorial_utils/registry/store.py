"""A registry on disk: a folder for each model, and in it a folder for each version, ``NAME/N``."""

import json
import re
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from tutorial_utils.core import machine, paths
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.core.hashing import sha256
from tutorial_utils.registry.files import MANIFEST, MODEL, PROFILE, TOKENIZER, WITHDRAWN
from tutorial_utils.registry.manifest import BadModel, Manifest, ModelForm

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NUMBER = re.compile(r"[0-9]{1,9}")


class BadName(TutorialError, ValueError):
    """This cannot be the name of a model in a registry. The message says which names can."""


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


def model_folder(registry: Path, name: str) -> Path:
    """Where the versions of a model are; it need not exist. Raises BadName."""
    return Path(registry) / check_name(name)


def write_version(
    registry: Path,
    name: str,
    forms: Sequence[ModelForm],
    tokenizer: Path,
    labels: Sequence[str],
    *,
    task: str = "single_label",
    reads: str = "text",
    label_spread: Sequence[float] | None = None,
    figures: dict[str, float] | None = None,
    profile: dict | None = None,
) -> Path:
    """Add a version of a model to a registry folder, ``registry/name/N``; return that folder.

    The folder appears under its number only when it is complete. Several threads and processes
    may write at the same time: each gets its own number. A killed writer leaves a hidden folder
    behind, which nothing reads.

    forms: with the paths of the files to copy; weights beside one (``paths.weights_of``) are copied
    with it. profile: of ``Profile.to_dict``. The rest is as in ``Manifest``.

    Raises:
        BadName: ``name`` cannot be a model's name.
        BadModel: two forms have weights beside them in files of one name.
    """
    folder = model_folder(registry, name)
    scratch = folder / f".incomplete-{uuid.uuid4().hex}"
    scratch.mkdir(parents=True)
    try:
        stored = []
        for number, form in enumerate(forms, 1):
            file = Path(MODEL if number == 1 else f"model-{number}.onnx")
            shutil.copyfile(form.file, scratch / file)
            _copy_weights(Path(form.file), scratch)
            stored.append(replace(form, file=file))
        shutil.copyfile(tokenizer, scratch / TOKENIZER)
        if profile is not None:
            (scratch / PROFILE).write_text(json.dumps(profile), encoding="utf-8")
        manifest = Manifest(
            name=name,
            version="",
            labels=tuple(labels),
            forms=tuple(stored),
            files={path.name: sha256(path) for path in sorted(scratch.iterdir())},
            task=task,
            reads=reads,
            label_spread=None if label_spread is None else tuple(map(float, label_spread)),
            figures=figures or {},
            versions=machine.versions(),
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        with FileLock(folder / ".lock"):
            last = max(map(int, _numbers(registry, name)), default=0)
            manifest = replace(manifest, version=str(last + 1))
            (scratch / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            return scratch.rename(folder / manifest.version)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def versions(registry: Path, name: str) -> list[str]:
    """Numbers of the versions in use, oldest first: complete, and not withdrawn.

    Raises:
        BadName: ``name`` cannot be a model's name.
    """
    return [n for n in _numbers(registry, name) if not _mark(registry, name, n).exists()]


def withdrawn(registry: Path, name: str) -> dict[str, str]:
    """Version number → why it was taken out of use."""
    marks = {n: _mark(registry, name, n) for n in _numbers(registry, name)}
    return {n: _reason(mark) for n, mark in marks.items() if mark.exists()}


def withdraw(registry: Path, name: str, version: str, reason: str) -> None:
    """Take a version out of use for every reader of this registry, until ``restore``.

    A service that follows the registry goes back to the newest version before it.

    Raises:
        BadModel: there is no such version.
    """
    mark = _known_mark(registry, name, version)
    # Beside the versions: a version's folder may hold nothing that its manifest does not list.
    scratch = mark.parent.with_name(f".withdrawn-{uuid.uuid4().hex}")
    scratch.write_text(f"{reason}\n", encoding="utf-8")
    scratch.replace(mark)


def restore(registry: Path, name: str, version: str) -> None:
    """Bring a withdrawn version back into use. Nothing changes if it is in use already.

    Raises:
        BadModel: there is no such version.
    """
    _known_mark(registry, name, version).unlink(missing_ok=True)


def stamp(registry: Path, name: str, version: str) -> tuple:
    """Names, sizes and times of a version's files: when they change, a broken one is read again."""
    folder = model_folder(registry, name) / version
    files = sorted(folder.iterdir()) if folder.is_dir() else ()
    return tuple((p.name, p.lstat().st_size, p.lstat().st_mtime_ns) for p in files)


def _copy_weights(model: Path, folder: Path) -> None:
    """Copy the file with a model's weights, if it has one, under its name: the model names it."""
    weights = paths.weights_of(model)
    if weights.exists():
        if (folder / weights.name).exists():
            raise BadModel(
                f"Two forms keep their weights in files named {weights.name}. Save one of them "
                "under another name."
            )
        shutil.copyfile(weights, folder / weights.name)


def _numbers(registry: Path, name: str) -> list[str]:
    """Of all complete versions, withdrawn ones included."""
    folder = model_folder(registry, name)
    found = (p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ()
    return sorted((n for n in found if NUMBER.fullmatch(n)), key=int)


def _mark(registry: Path, name: str, version: str) -> Path:
    return model_folder(registry, name) / version / WITHDRAWN


def _known_mark(registry: Path, name: str, version: str) -> Path:
    known = _numbers(registry, name)
    if version not in known:
        has = f"there are: {', '.join(known)}" if known else "there is none"
        raise BadModel(f"{name!r} has no version {version!r}; {has}. Check --registry and --model.")
    return _mark(registry, name, version)


def _reason(mark: Path) -> str:
    try:
        return mark.read_text(encoding="utf-8").strip() or "no reason was given"
    except (OSError, UnicodeError):
        return "its reason cannot be read"
