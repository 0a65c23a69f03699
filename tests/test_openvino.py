"""OpenVINO as the provider of a version: built, judged, published, opened.

Most of these need the provider. `make test-slow` runs them with a build of ONNX Runtime with it.
"""

import json
import logging

import numpy as np
import pytest
import service
import tiny_models
from optimizing import SPEED, command, data_of, fixed_times

from tutorial_utils import cli, registry
from tutorial_utils.core import machine
from tutorial_utils.graph import export, static
from tutorial_utils.optimize import providers, variants
from tutorial_utils.registry import BadModel, ModelForm, opening
from tutorial_utils.runtime import batching, inference, openvino
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import (
    EXACT,
    ProviderUnavailable,
    SessionRecipe,
    provider_problem,
)

PROBLEM = provider_problem("openvino")
needs_openvino = pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))
WITHOUT = pytest.mark.skipif(PROBLEM is None, reason="OpenVINO's provider is here")
LOW = ("--min-agreement", "0.9")


@pytest.fixture
def clock(monkeypatch):
    return fixed_times(monkeypatch)


def two_forms(folder, features=()):
    """A version in two forms: for OpenVINO, and for the CPU provider."""
    service.publish(folder)
    version = folder / "sentiment" / "1"
    recipes = (
        Recipe(("openvino",), SessionRecipe("openvino"), max_length=64),
        Recipe(("cpu",), max_length=64),
    )
    forms = [ModelForm(version / "model.onnx", recipe, "fp32", features) for recipe in recipes]
    tokenizer = version / "tokenizer.json"
    registry.write_version(folder, "sentiment", forms, tokenizer, tiny_models.LABELS)
    return folder


@WITHOUT
def test_a_service_without_the_provider_opens_the_other_form_and_says_why(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        model = registry.load(two_forms(tmp_path), "sentiment")
    assert model.recipe.steps == ("cpu",)
    assert f"runs on the CPU, since openvino does not here: {PROBLEM}" in caplog.text


@WITHOUT
def test_a_report_says_what_was_not_tried_and_why(clock, tmp_path):
    assert cli.main(command(tmp_path, "--quick", *LOW)) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"OpenVINOExecutionProvider was not tried: {PROBLEM}." in text


@needs_openvino
def test_the_form_that_fits_the_processor_is_opened(tmp_path):
    here = machine.describe().features
    assert registry.load(two_forms(tmp_path / "a", here), "sentiment").recipe.steps == ("openvino",)
    model = registry.load(two_forms(tmp_path / "b", ("none such",)), "sentiment")
    assert model.recipe.steps == ("cpu",)


@needs_openvino
def test_8_bit_weights_are_not_opened_where_their_products_saturate(tmp_path, monkeypatch):
    def version(folder, config, precision="int8"):
        two_forms(folder)
        first = folder / "sentiment" / "2"
        recipe = Recipe(session=SessionRecipe("openvino", config=config), max_length=64)
        form = ModelForm(first / "model.onnx", recipe, precision)
        tokenizer = first / "tokenizer.json"
        registry.write_version(folder, "sentiment", [form], tokenizer, tiny_models.LABELS)
        return folder

    monkeypatch.setattr(machine, "saturates", lambda: True)
    with pytest.raises(BadModel, match=r"saturate on this processor.*Run `optimize` here"):
        registry.load(version(tmp_path / "a", {}), "sentiment")
    for name, config, precision in (("b", {EXACT: "0"}, "int8"), ("c", {}, "fp32")):
        assert registry.load(version(tmp_path / name, config, precision), "sentiment").session
    monkeypatch.setattr(machine, "saturates", lambda: False)
    assert registry.load(tmp_path / "a", "sentiment").session


@needs_openvino
def test_openvino_computes_the_8_bit_file_as_the_cpu_provider_does_exactly(tiny_model, tmp_path):
    plain = export.export(tiny_model, tmp_path / "plain.onnx", attention="eager")
    samples = [inference.random_inputs(4, 16, seed) for seed in range(4)]
    eight = static.recommended(plain, tmp_path / "eight.onnx", samples)
    inputs = inference.random_inputs(8, 16, seed=9)
    exact = inference.onnx_predict(eight, SessionRecipe(config={EXACT: "1"}))(inputs)
    recipe = SessionRecipe("openvino", openvino.precision("f32"))
    assert np.allclose(inference.onnx_predict(eight, recipe)(inputs), exact, atol=0.01)


@needs_openvino
@pytest.mark.parametrize("error", [ProviderUnavailable("gone"), RuntimeError("cannot compile")])
def test_what_openvino_cannot_open_runs_on_the_cpu_provider(tmp_path, monkeypatch, caplog, error):
    opened = opening.open_session

    def fails(path, recipe):
        if recipe.provider == "openvino":
            raise error
        return opened(path, recipe)

    folder = two_forms(tmp_path)
    monkeypatch.setattr(opening, "open_session", fails)
    with caplog.at_level(logging.WARNING):
        model = registry.load(folder, "sentiment")
    assert model.recipe.steps == ("cpu",)
    assert "its form for a CPU runs instead" in caplog.text


@needs_openvino
def test_the_fastest_provider_is_promoted_with_a_form_for_machines_without_it(
    clock, tmp_path, monkeypatch
):
    # The tiny model's answers to long inputs are ties, which any rounding decides.
    monkeypatch.setattr(variants, "problem_at_length", lambda *given: None)
    clock.clear()
    clock.update({"openvino_int8": 0.1, "openvino_mixed": 0.2, "openvino": 0.3, **SPEED})
    data = data_of(tmp_path)
    assert cli.main(command(tmp_path, "--data", str(data), *LOW)) == 0
    version = tmp_path / "out" / "registry" / "model" / "1"
    ours, spare = registry.read_manifest(version).forms
    assert ours.recipe.session.provider == "openvino"
    assert ours.recipe.steps == ("openvino", "openvino_int8", "tuned")
    assert (spare.recipe.session.provider, spare.precision) == ("cpu", "int8")
    assert ours.features == spare.features == machine.describe().features
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    tried = {(t["name"], t["provider"]) for t in report["trials"] if t["stage"] == providers.STAGE}
    names = ("openvino_int8", "openvino_mixed", "openvino")
    assert tried == {(name, "openvino") for name in names}
    budgets = {t["provider"] for t in report["trials"] if t["stage"] == "tune"}
    assert budgets == {"", "openvino"}
    assert "The version has a second file" in (tmp_path / "out" / "report.md").read_text()

    model = registry.load(tmp_path / "out" / "registry", "model")
    assert model.session.get_providers()[0] == "OpenVINOExecutionProvider"
    rows = [[2, 5, 3], [2, 6, 7, 8, 9, 3]]
    other = opening.open_form(version, model.manifest, spare)
    answers = [one.logits(batching.pad(rows)) for one in (model, other)]
    assert np.allclose(*answers, atol=0.1)
    # A second run compares with the version in use, and finds nothing new.
    assert cli.main(command(tmp_path, "--data", str(data), *LOW)) == 0
    assert registry.versions(version.parents[1], "model") == ["1"]
