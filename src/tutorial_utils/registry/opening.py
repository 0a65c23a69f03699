"""One form of a version, opened for serving: complete, of the right signature, and run once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from tutorial_utils.drift.profile import BadProfile, Profile
from tutorial_utils.registry import forms
from tutorial_utils.registry.files import PROFILE, TOKENIZER
from tutorial_utils.registry.loaded import LoadedModel
from tutorial_utils.registry.manifest import FIX, BadModel, Manifest, ModelForm
from tutorial_utils.runtime import batching, memory, tokenization
from tutorial_utils.runtime.batching import INPUTS
from tutorial_utils.runtime.session import ProviderUnavailable, device_failure, open_session
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import named

WARM_UP = ["Warm.", "A sentence of ordinary length, so that no first caller waits for memory."]
SAME_MEMORY = ("openvino",)  # providers of the processor itself, besides the CPU's own
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class NoDevice(BadModel):
    """The device or the provider of a form is missing or fails, while its files are right."""


def open_form(folder: Path, manifest: Manifest, form: ModelForm) -> LoadedModel:
    """One form of the version in ``folder``, whose files are verified already; run once.

    Raises:
        NoDevice: its provider is missing or fails here; another form may run.
        BadModel: the form is broken, or would answer wrongly on this processor.
    """
    if WEIGHTS_FOLDER in form.recipe.session.config:
        raise BadModel(
            f"{manifest}: its recipe sets {WEIGHTS_FOLDER}, but weights from another folder are "
            f"not verified. Save the model with its weights beside it. {FIX}"
        )
    if forms.saturates(form):
        raise BadModel(
            f"{manifest} has 8-bit weights for OpenVINO, whose products saturate on this processor "
            "(no VNNI), so answers would be wrong. Run `optimize` here for 7-bit weights, or serve "
            "it on a processor with VNNI or AMX."
        )
    why = (
        f"cannot be opened: a file is damaged, or {form.file} keeps weights outside its folder. "
        f"Save the model as one file, or with its weights beside it in {form.file}.data. {FIX}"
    )
    if forms.slowed(form):
        why = (
            "has 8-bit weights, whose exact products ONNX Runtime cannot compute here, and fast "
            "ones saturate on this processor (no VNNI). Run `optimize` here for 7-bit weights, or "
            "serve it on a processor with VNNI or AMX."
        )
    with _explained(manifest, form, why):
        session = open_session(folder / form.file, form.recipe.session)
        tokenizer = tokenization.load(folder / TOKENIZER, form.recipe.max_length)
    model = LoadedModel(manifest, form, session, tokenizer, _read_profile(folder, manifest))
    _check_signature(model)
    _warm_up(model)
    return model


def fitted(model: LoadedModel) -> LoadedModel:
    """The model with a token budget whose largest batch fits into the memory of its device."""
    recipe = model.recipe
    row = list(islice(cycle(model.encode(_warm_texts(model.manifest))[-1]), recipe.max_length))
    with _explained(model.manifest, model.form, f"fails when run. {FIX}"):
        budget = memory.largest_budget(model.logits, row, recipe.token_budget, recipe.padding)
    return replace(model, form=replace(model.form, recipe=replace(recipe, token_budget=budget)))


def _read_profile(folder: Path, manifest: Manifest) -> Profile | None:
    if PROFILE not in manifest.files:
        return None
    try:
        return Profile.from_json((folder / PROFILE).read_text(encoding="utf-8"))
    except (BadProfile, UnicodeError) as error:
        raise BadModel(f"{manifest}: {PROFILE} is not usable ({error}). {FIX}") from error


def _check_signature(model: LoadedModel) -> None:
    """The names of inputs and outputs must be those of the task."""
    inputs = {value.name for value in model.session.get_inputs()}
    outputs = [value.name for value in model.session.get_outputs()]
    wanted = [named(model.manifest.task).output]
    if not inputs <= set(INPUTS) or "input_ids" not in inputs or outputs != wanted:
        raise BadModel(
            f"{model.manifest} takes {sorted(inputs)} and gives {outputs}; for its task it takes "
            f"some of {sorted(INPUTS)} and gives {wanted}. Export it as notebook 01 shows. {FIX}"
        )


def _warm_texts(manifest: Manifest) -> Sequence[Text]:
    return list(zip(WARM_UP, WARM_UP, strict=True)) if manifest.reads == "pair" else WARM_UP


def _warm_up(model: LoadedModel) -> None:
    """Run once, to allocate memory, and so that a fault shows here and not to the first caller."""
    with _explained(model.manifest, model.form, f"fails when run. {FIX}"):
        rows = model.encode(_warm_texts(model.manifest))
        logits = model.logits(batching.pad(rows, padding=model.recipe.padding))
    expected = (len(WARM_UP), model.width)
    if logits.shape != expected or not np.isfinite(logits).all():
        raise BadModel(
            f"{model.manifest} answers with an array {logits.shape}; expected finite numbers of "
            f"shape {expected}, with a row per text and a column per label or dimension. {FIX}"
        )


@contextmanager
def _explained(manifest: Manifest, form: ModelForm, why: str) -> Iterator[None]:
    """Blame the device or its memory if an error says so; otherwise, say ``why``."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        if memory.is_allocation_failure(error):
            raise BadModel(
                f"{manifest} cannot answer a text of {form.recipe.max_length} tokens on "
                f"{form.provider}: there is too little memory. Free some, allow the service "
                "more, or serve a version for a CPU."
            ) from error
        if isinstance(error, ProviderUnavailable):
            raise NoDevice(f"{manifest} cannot be opened: {error}") from error
        failure = device_failure(error)
        if (
            form.recipe.session.provider in SAME_MEMORY
        ):  # its file is verified, so it is not at fault
            failure = failure or type(error).__name__
        if failure:
            raise NoDevice(f"{manifest} fails on {form.provider}: {failure}") from error
        raise BadModel(f"{manifest} {why} Cause: {type(error).__name__}.") from error
