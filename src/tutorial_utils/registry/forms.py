"""Which form of a version suits this machine."""

from dataclasses import replace

from tutorial_utils.core import machine
from tutorial_utils.registry.manifest import BadModel, Manifest, ModelForm
from tutorial_utils.runtime import session


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
        if not session.provider_problem(form.recipe.session.provider) and not saturates(form)
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


def saturates(form: ModelForm) -> bool:
    """Whether its 8-bit products are wrong on this processor."""
    return form.precision == "int8" and form.recipe.session.saturates


def slowed(form: ModelForm) -> bool:
    """Whether its 8-bit products are right on this processor at the cost of time."""
    return form.precision == "int8" and form.recipe.session.slowed


def limited(form: ModelForm, gpu_memory: int) -> ModelForm:
    """The form with a limit of GPU memory in bytes; 0: none."""
    given = form.recipe.session
    if given.provider != "cuda" or not gpu_memory:
        return form
    options = given.provider_options | {"gpu_mem_limit": str(gpu_memory)}
    limited = replace(given, provider_options=options)
    return replace(form, recipe=replace(form.recipe, session=limited))
