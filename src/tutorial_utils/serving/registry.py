"""Versions of a model on disk: which there are, and one of them loaded, verified and warm."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from tutorial_utils import batching, paths
from tutorial_utils.profile import BadProfile, Profile
from tutorial_utils.recipe import (
    MODEL,
    PROFILE,
    TOKENIZER,
    BadModel,
    Manifest,
    numbers,
    read_manifest,
)
from tutorial_utils.serving import external
from tutorial_utils.session import ProviderUnavailable, open_session

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
WITHDRAWN = "WITHDRAWN"  # a file in a version's folder that takes it out of use; it says why
MEND = "Write a new version with `python -m tutorial_utils publish`, or serve another one."
WARM_UP = ["Warm.", "A sentence of a length that callers send, so that no first one waits for it."]


@dataclass(frozen=True)
class LoadedModel:
    """A version ready to run. profile: what its traffic is expected to be, where it has one."""

    manifest: Manifest
    session: ort.InferenceSession
    tokenizer: Tokenizer
    profile: Profile | None = None

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, cut to the length that the recipe names."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """float32 (batch, labels) for padded inputs (batch, sequence)."""
        given = {value.name: inputs[value.name] for value in self.session.get_inputs()}
        return self.session.run(["logits"], given)[0]


def versions(registry: Path, name: str) -> list[str]:
    """Version numbers of a model, oldest first, without those that were withdrawn.

    Nor are folders still being written among them.
    """
    return [n for n in numbers(registry, name) if not _mark(registry, name, n).exists()]


def withdrawn(registry: Path, name: str) -> dict[str, str]:
    """Version number → why it was taken out of use."""
    marks = {n: _mark(registry, name, n) for n in numbers(registry, name)}
    return {n: _reason(mark) for n, mark in marks.items() if mark.exists()}


def withdraw(registry: Path, name: str, version: str, reason: str) -> None:
    """Take a version out of use, for all who read this registry, until ``restore``.

    Who serves it and follows the registry goes back to the newest version before it.

    Raises:
        BadModel: there is no such version.
    """
    with paths.replacing(_known_mark(registry, name, version)) as temporary:
        temporary.write_text(f"{reason}\n", encoding="utf-8")


def restore(registry: Path, name: str, version: str) -> None:
    """Bring a withdrawn version back into use; of one that is in use, nothing changes.

    Raises:
        BadModel: there is no such version.
    """
    _known_mark(registry, name, version).unlink(missing_ok=True)


def stamp(registry: Path, name: str, version: str) -> tuple:
    """What changes when a version's files do: a refused version is not read again until then."""
    folder = Path(registry) / name / version
    files = sorted(folder.iterdir()) if folder.is_dir() else ()
    return tuple((p.name, *_size_and_time(p)) for p in files)


def load(registry: Path, name: str, version: str = "latest") -> LoadedModel:
    """Open a version, its files verified against the manifest, and run it once.

    Raises:
        BadModel: there is no such version, or it is broken; the message says what to do.
    """
    known = versions(registry, name)
    if (gone := withdrawn(registry, name)) and (version in gone or not known):
        number, why = (version, gone[version]) if version in gone else next(iter(gone.items()))
        raise BadModel(
            f"{name} {number} was withdrawn: {why}. Serve another version, or bring it back with "
            "`python -m tutorial_utils withdraw --undo`."
        )
    if not known:
        raise BadModel(
            f"The registry {Path(registry).name!r} holds no version of {name!r}. Write one with "
            "`python -m tutorial_utils publish`, or check --registry and --model."
        )
    chosen = known[-1] if version == "latest" else version
    if chosen not in known:
        raise BadModel(f"{name!r} has no version {version!r}: there are {', '.join(known)}.")
    folder = Path(registry) / name / chosen
    manifest = read_manifest(folder)
    if (manifest.name, manifest.version) != (name, chosen):
        raise BadModel(
            f"{name} {chosen}: its manifest calls it {manifest.name} {manifest.version}, and "
            f"answers would name the wrong model. {MEND}"
        )
    _check_external(folder, manifest)
    try:
        session = open_session(folder / MODEL, manifest.recipe.session)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except ProviderUnavailable as error:
        raise BadModel(f"{name} {chosen} cannot be opened: {error}") from error
    except Exception as error:
        raise BadModel(
            f"{name} {chosen} cannot be opened: {type(error).__name__}. {MEND}"
        ) from error
    inputs = {value.name for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    if not inputs <= INPUTS or "input_ids" not in inputs or outputs != ["logits"]:
        raise BadModel(
            f"{name} {chosen} takes {sorted(inputs)} and gives {outputs}; a text classifier takes "
            f"some of {sorted(INPUTS)} and gives ['logits']. Export it as notebook 01 shows. {MEND}"
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest.recipe.max_length)
    model = LoadedModel(manifest, session, tokenizer, _read_profile(folder, manifest))
    _warm_up(model)
    return model


def describe(model: LoadedModel) -> dict:
    """What ``/info`` tells of a model: no paths, no hashes."""
    manifest = model.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "labels": list(manifest.labels),
        "steps": list(manifest.recipe.steps),
        "max_tokens": manifest.recipe.max_length,
        "figures": json.loads(json.dumps(manifest.figures)),
        "versions": manifest.versions,
        "created": manifest.created,
    }


def _read_profile(folder: Path, manifest: Manifest) -> Profile | None:
    if PROFILE not in manifest.files:
        return None
    try:
        return Profile.from_json((folder / PROFILE).read_text(encoding="utf-8"))
    except (BadProfile, UnicodeError) as error:
        who = f"{manifest.name} {manifest.version}"
        raise BadModel(f"{who}: {PROFILE} is not usable ({error}). {MEND}") from error


def _check_external(folder: Path, manifest: Manifest) -> None:
    """Weights outside the model file must be verified files of the version's own folder."""
    who = f"{manifest.name} {manifest.version}"
    try:
        wanted = external.locations(folder / MODEL)
    except ValueError as error:
        raise BadModel(f"{who}: {MODEL} cannot be read ({error}). {MEND}") from error
    for location in wanted:
        if Path(location).name != location:
            raise BadModel(
                f"{who}: {MODEL} keeps weights outside its folder. Save it as one file, or with "
                f"its data beside it. {MEND}"
            )
        if location not in manifest.files:
            raise BadModel(
                f"{who}: {MODEL} keeps weights in {location}, which its manifest does not list, so "
                f"that nobody has verified it. {MEND}"
            )


def _warm_up(model: LoadedModel) -> None:
    """Run once: what would fail for the first caller fails here, and memory is allocated."""
    who = f"{model.manifest.name} {model.manifest.version}"
    try:
        rows = model.encode(WARM_UP)
        logits = model.logits(batching.pad(rows, padding=model.manifest.recipe.padding))
    except Exception as error:
        raise BadModel(f"{who} fails when run: {type(error).__name__}. {MEND}") from error
    expected = (len(WARM_UP), len(model.manifest.labels))
    if logits.shape != expected or not np.isfinite(logits).all():
        raise BadModel(
            f"{who} answers with an array {logits.shape} where finite numbers {expected} belong: "
            f"a row for each text, a column for each of its labels. {MEND}"
        )


def _mark(registry: Path, name: str, version: str) -> Path:
    return Path(registry) / name / version / WITHDRAWN


def _known_mark(registry: Path, name: str, version: str) -> Path:
    known = numbers(registry, name)
    if version not in known:
        has = f"there are: {', '.join(known)}" if known else "there is none"
        raise BadModel(f"{name!r} has no version {version!r}; {has}. Check --registry and --model.")
    return _mark(registry, name, version)


def _reason(mark: Path) -> str:
    try:
        return mark.read_text(encoding="utf-8").strip() or "no reason was given"
    except (OSError, UnicodeError):
        return "its reason cannot be read"


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_size, found.st_mtime_ns
