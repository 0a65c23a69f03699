"""Versions of a model on disk: which there are, and one of them loaded and verified."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from tutorial_utils.recipe import MODEL, TOKENIZER, BadModel, Manifest, read_manifest
from tutorial_utils.session import open_session

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


@dataclass(frozen=True)
class LoadedModel:
    """A version ready to run."""

    manifest: Manifest
    session: ort.InferenceSession
    tokenizer: Tokenizer

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, cut to the length that the recipe names."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """float32 (batch, labels) for padded inputs (batch, sequence)."""
        given = {value.name: inputs[value.name] for value in self.session.get_inputs()}
        return self.session.run(["logits"], given)[0]


def versions(registry: Path, name: str) -> list[str]:
    """Version numbers of a model, oldest first; folders still being written are not among them."""
    shelf = Path(registry) / name
    found = (p.name for p in shelf.iterdir() if p.is_dir()) if shelf.is_dir() else ()
    return sorted((n for n in found if n.isdecimal()), key=int)


def load(registry: Path, name: str, version: str = "latest") -> LoadedModel:
    """Open a version, its files verified against the manifest.

    Raises:
        BadModel: there is no such version, or it is broken; the message says what to do.
    """
    known = versions(registry, name)
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
    try:
        session = open_session(folder / MODEL, manifest.recipe.session)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:
        raise BadModel(f"{name} {chosen} cannot be opened: {type(error).__name__}") from error
    inputs = {value.name for value in session.get_inputs()}
    outputs = [value.name for value in session.get_outputs()]
    if not inputs <= INPUTS or "input_ids" not in inputs or outputs != ["logits"]:
        raise BadModel(
            f"{name} {chosen} takes {sorted(inputs)} and gives {outputs}; a text classifier takes "
            f"some of {sorted(INPUTS)} and gives ['logits']. Export it as notebook 01 shows."
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest.recipe.max_length)
    return LoadedModel(manifest, session, tokenizer)


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
