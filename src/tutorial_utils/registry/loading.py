"""One version of a model, opened for serving: verified, complete, and run once."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from tutorial_utils.core import machine
from tutorial_utils.drift.profile import BadProfile, Profile
from tutorial_utils.registry import lookup, store
from tutorial_utils.registry.files import PROFILE, TOKENIZER
from tutorial_utils.registry.manifest import FIX, BadModel, Manifest, ModelForm, read_manifest
from tutorial_utils.runtime import batching, memory, tokenization
from tutorial_utils.runtime.batching import INPUTS
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import (
    ProviderUnavailable,
    device_failure,
    open_session,
    provider_problem,
)
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import named

log = logging.getLogger(__name__)

WARM_UP = ["Warm.", "A sentence of ordinary length, so that no first caller waits for memory."]
SAME_MEMORY = ("openvino",)  # providers of the processor itself, besides the CPU's own
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True)
class LoadedModel:
    """A version ready to run. form: the one of its forms that runs here.

    profile: of the traffic that is normal for it, if it has one. spare: the same version in its
    form for a CPU, where ``form`` needs another device, which may fail.
    """

    manifest: Manifest
    form: ModelForm
    session: ort.InferenceSession
    tokenizer: Tokenizer
    profile: Profile | None = None
    spare: "LoadedModel | None" = None

    @property
    def recipe(self) -> Recipe:
        """How the chosen form is run."""
        return self.form.recipe

    @property
    def width(self) -> int:
        """Numbers in one answer: one for each label, or the dimensions of a vector."""
        return len(self.manifest.labels) or int(self.session.get_outputs()[0].shape[-1])

    def encode(self, texts: Sequence[Text]) -> list[list[int]]:
        """Token ids of each text or pair, cut to the length that the recipe names."""
        return tokenization.encode(self.tokenizer, texts)

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """float32 (batch, width) for padded inputs (batch, sequence): the task's raw output."""
        given = {value.name: inputs[value.name] for value in self.session.get_inputs()}
        return self.session.run([named(self.manifest.task).output], given)[0]


def load(registry: Path, name: str, version: str = "latest", gpu_memory: int = 0) -> LoadedModel:
    """Open a version in the form that suits this machine, verified, and run it once.

    version: a number, or ``latest`` for the newest in use. gpu_memory: bytes of a GPU's memory
    that it may use; 0: what is free. On a GPU, the recipe's token budget is lowered until a batch
    fits, and the version's form for a CPU is opened as well. A form for OpenVINO runs on the same
    processor, so the form for a CPU is opened only if that one cannot be.

    A model can keep weights in other files (``TensorProto.external_data``). ONNX Runtime refuses
    paths that leave the model's folder, and in the folder are only verified files.

    Raises:
        BadName: ``name`` cannot be a model's name.
        BadModel: there is no such version, or it is broken; the message says what to do.
    """
    folder = _find(registry, name, version)
    manifest = read_manifest(folder)
    if (manifest.name, manifest.version) != (name, folder.name):
        raise BadModel(
            f"{name} {folder.name}: its manifest calls it {manifest}, so answers would "
            f"name the wrong model. {FIX}"
        )
    form = choose(manifest)
    if _slowed(form):
        log.warning(
            "%s has 8-bit weights, whose fast products can saturate on this processor (no VNNI). "
            "It answers right, but slowly. Run `optimize` here for 7-bit weights.",
            manifest,
        )
    if form.recipe.session.provider == "cpu":
        first = manifest.forms[0].recipe.session.provider
        if problem := provider_problem(first):
            log.warning("%s runs on the CPU, since %s does not here: %s", manifest, first, problem)
        return _open(folder, manifest, form)
    on_cpu = next((f for f in manifest.forms if f.recipe.session.provider == "cpu"), None)
    with_memory = form.recipe.session.provider not in SAME_MEMORY
    # A device with memory of its own may fail at any time, so another form is ready then.
    spare = _open(folder, manifest, on_cpu) if on_cpu and with_memory else None
    try:
        model = _open(folder, manifest, _limited(form, gpu_memory))
        return replace(_fitted(model), spare=spare) if with_memory else model
    except _NoDevice as error:
        if on_cpu is None:
            raise
        log.warning("%s; its form for a CPU runs instead", error)
        return spare or _open(folder, manifest, on_cpu)


def _open(folder: Path, manifest: Manifest, form: ModelForm) -> LoadedModel:
    """One form of a version, run once."""
    if WEIGHTS_FOLDER in form.recipe.session.config:
        raise BadModel(
            f"{manifest}: its recipe sets {WEIGHTS_FOLDER}, but weights from another folder are "
            f"not verified. Save the model with its weights beside it. {FIX}"
        )
    if _saturates(form):
        raise BadModel(
            f"{manifest} has 8-bit weights for OpenVINO, whose products saturate on this processor "
            "(no VNNI), so answers would be wrong. Run `optimize` here for 7-bit weights, or serve "
            "it on a processor with VNNI or AMX."
        )
    why = (
        f"cannot be opened: a file is damaged, or {form.file} keeps weights outside its folder. "
        f"Save the model as one file, or with its weights beside it in {form.file}.data. {FIX}"
    )
    if _slowed(form):
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


def _saturates(form: ModelForm) -> bool:
    return form.precision == "int8" and form.recipe.session.saturates


def _slowed(form: ModelForm) -> bool:
    return form.precision == "int8" and form.recipe.session.slowed


def choose(manifest: Manifest) -> ModelForm:
    """The first form whose provider and processor features are here, else the first one for a CPU.

    Processor features are a preference: ONNX Runtime runs a CPU's file on every processor. A
    single form is taken as it is; opening it shows what this machine lacks.

    Raises:
        BadModel: none of several forms runs here.
    """
    if len(manifest.forms) == 1:
        return manifest.forms[0]
    usable = [
        form
        for form in manifest.forms
        if not provider_problem(form.recipe.session.provider) and not _saturates(form)
    ]
    for form in usable:
        if not form.features or set(form.features) <= set(machine.describe().features):
            return form
    for form in usable:
        if form.recipe.session.provider == "cpu":
            return form
    wanted = ", ".join(form.provider for form in manifest.forms)
    raise BadModel(
        f"{manifest} has no form that runs here (it has {wanted}). Serve "
        "it where one of these providers is installed, or publish it with a form for the CPU."
    )


def _find(registry: Path, name: str, version: str) -> Path:
    """The folder of a version in use."""
    known, gone = store.versions(registry, name), store.withdrawn(registry, name)
    chosen = known[-1] if known and version == "latest" else version
    if chosen in known:
        return store.model_folder(registry, name) / chosen
    if version in gone or (gone and not known):
        marked = [version] if version in gone else gone
        told = "; ".join(f"{name} {number} was withdrawn: {gone[number]}" for number in marked)
        raise BadModel(
            f"{told}. Serve another version, or bring it back with `python -m tutorial_utils "
            "withdraw --undo`."
        )
    if not known:
        raise lookup.nothing_of(registry, name)
    raise BadModel(f"{name!r} has no version {version!r}: there are {', '.join(known)}.")


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


def _limited(form: ModelForm, gpu_memory: int) -> ModelForm:
    """The form with a limit of GPU memory in bytes; 0: none."""
    session = form.recipe.session
    if session.provider != "cuda" or not gpu_memory:
        return form
    options = session.provider_options | {"gpu_mem_limit": str(gpu_memory)}
    session = replace(session, provider_options=options)
    return replace(form, recipe=replace(form.recipe, session=session))


def _fitted(model: LoadedModel) -> LoadedModel:
    """The model with a token budget whose largest batch fits into the memory of its device."""
    recipe = model.recipe
    row = list(islice(cycle(model.encode(_warm_texts(model.manifest))[-1]), recipe.max_length))
    with _explained(model.manifest, model.form, f"fails when run. {FIX}"):
        budget = memory.largest_budget(model.logits, row, recipe.token_budget, recipe.padding)
    return replace(model, form=replace(model.form, recipe=replace(recipe, token_budget=budget)))


class _NoDevice(BadModel):
    """The device or the provider of a form is missing or fails, while its files are right."""


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
            raise _NoDevice(f"{manifest} cannot be opened: {error}") from error
        failure = device_failure(error)
        if (
            form.recipe.session.provider in SAME_MEMORY
        ):  # its file is verified, so it is not at fault
            failure = failure or type(error).__name__
        if failure:
            raise _NoDevice(f"{manifest} fails on {form.provider}: {failure}") from error
        raise BadModel(f"{manifest} {why} Cause: {type(error).__name__}.") from error


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
