"""A version of a model for serving: found, in the form that suits this machine, and opened."""

import logging
from dataclasses import replace
from pathlib import Path

from tutorial_utils.registry import forms, lookup, opening, store
from tutorial_utils.registry.loaded import LoadedModel
from tutorial_utils.registry.manifest import FIX, BadModel, read_manifest
from tutorial_utils.runtime import session

log = logging.getLogger(__name__)


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
    form = forms.choose(manifest)
    if forms.slowed(form):
        log.warning(
            "%s has 8-bit weights, whose fast products can saturate on this processor (no VNNI). "
            "It answers right, but slowly. Run `optimize` here for 7-bit weights.",
            manifest,
        )
    if form.recipe.session.provider == "cpu":
        first = manifest.forms[0].recipe.session.provider
        if problem := session.provider_problem(first):
            log.warning("%s runs on the CPU, since %s does not here: %s", manifest, first, problem)
        return opening.open_form(folder, manifest, form)
    on_cpu = next((f for f in manifest.forms if f.recipe.session.provider == "cpu"), None)
    with_memory = form.recipe.session.provider not in opening.SAME_MEMORY
    # A device with memory of its own may fail at any time, so another form is ready then.
    spare = opening.open_form(folder, manifest, on_cpu) if on_cpu and with_memory else None
    try:
        model = opening.open_form(folder, manifest, forms.limited(form, gpu_memory))
        return replace(opening.fitted(model), spare=spare) if with_memory else model
    except opening.NoDevice as error:
        if on_cpu is None:
            raise
        log.warning("%s; its form for a CPU runs instead", error)
        return spare or opening.open_form(folder, manifest, on_cpu)


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
