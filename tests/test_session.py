import json
import sys
import types

import numpy as np
import onnxruntime as ort
import pytest

from tutorial_utils.core import records
from tutorial_utils.runtime import inference, openvino, session
from tutorial_utils.runtime.session import ProviderUnavailable, SessionRecipe, open_session

NO_CUDA = session.provider_problem("cuda")
needs_no_cuda = pytest.mark.skipif(NO_CUDA is None, reason="CUDA works on this machine")

NO_OPENVINO = session.provider_problem("openvino")
needs_openvino = pytest.mark.skipif(NO_OPENVINO is not None, reason=str(NO_OPENVINO))


def test_a_session_runs_what_was_asked_for(tiny_onnx):
    opened = open_session(tiny_onnx, SessionRecipe(threads=1))
    assert opened.get_providers() == ["CPUExecutionProvider"]
    (logits,) = opened.run(None, inference.random_inputs(2, 5))
    assert logits.shape == (2, 2)


@needs_openvino
@pytest.mark.parametrize("options", [{}, openvino.precision("f32")])
def test_openvino_gives_the_answers_of_the_cpu_provider(tiny_onnx, options):
    inputs = inference.random_inputs(3, 11)
    recipe = SessionRecipe("openvino", options, threads=1)
    expected = inference.onnx_predict(tiny_onnx)(inputs)
    assert np.allclose(inference.onnx_predict(tiny_onnx, recipe)(inputs), expected, atol=0.02)


def test_openvino_gets_its_threads_from_the_recipe_unless_its_own_options_say_otherwise():
    hint = openvino.precision("bf16")
    found = json.loads(openvino.options(hint, threads=3)[openvino.SETTINGS])
    assert found == {"CPU": {"INFERENCE_NUM_THREADS": "3", "INFERENCE_PRECISION_HINT": "bf16"}}
    given = {openvino.SETTINGS: json.dumps({"CPU": {"INFERENCE_NUM_THREADS": "1"}})}
    found = json.loads(openvino.options(given, threads=3)[openvino.SETTINGS])
    assert found == {"CPU": {"INFERENCE_NUM_THREADS": "1"}}


@needs_no_cuda
def test_cuda_on_a_machine_without_it_is_an_error_with_reason_and_fix(tiny_onnx):
    with pytest.raises(ProviderUnavailable) as caught:
        open_session(tiny_onnx, SessionRecipe(provider="cuda"))
    message = str(caught.value)
    assert NO_CUDA in message
    assert 'pip install ".[gpu]"' in message
    assert "choose the provider `cpu`" in message


def test_an_unknown_provider_names_those_there_are(tiny_onnx):
    with pytest.raises(ProviderUnavailable, match=r"'gpu'.*openvino"):
        open_session(tiny_onnx, SessionRecipe(provider="gpu"))


@pytest.mark.skipif(openvino.BUILT_IN, reason="this build needs no plugin")
def test_a_plugin_without_a_device_is_registered_once_and_said_to_have_none(monkeypatch):
    plugin = types.ModuleType("onnxruntime_ep_openvino")
    plugin.get_ep_name, plugin.get_library_path = lambda: "OpenVINO", lambda: "library"
    registered = []
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    monkeypatch.setattr(
        ort, "register_execution_provider_library", lambda *given: registered.append(given)
    )
    openvino.plugin.cache_clear()
    for _ in range(2):
        assert "no device for this processor" in session.provider_problem("openvino")
    assert registered == [("OpenVINO", "library")]
    openvino.plugin.cache_clear()


def test_a_recipe_survives_json():
    recipe = SessionRecipe(
        threads=3, spinning=False, disabled_optimizers=("GeluFusion",), config={"a.b": "1"}
    )
    assert records.loads(SessionRecipe, records.dumps(recipe)) == recipe


def test_every_field_of_the_recipe_reaches_onnxruntime():
    options = SessionRecipe(
        threads=3,
        spinning=False,
        optimization="extended",
        arena=False,
        memory_pattern=False,
        config={"session.disable_prepacking": "1"},
    ).options()
    assert options.intra_op_num_threads == 3
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.disable_prepacking") == "1"


def test_weights_in_huge_pages_give_the_same_answers(tiny_onnx):
    inputs = inference.random_inputs(2, 16)
    plain, moved = (
        inference.onnx_predict(tiny_onnx, SessionRecipe(huge_pages=huge))(inputs)
        for huge in (False, True)
    )
    assert (plain == moved).all()


def test_a_disabled_optimizer_stays_away(tiny_onnx, tmp_path):
    from tutorial_utils.graph import inspection

    def loaded(name, disabled):
        options = SessionRecipe().options()
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        ort.InferenceSession(str(tiny_onnx), options, disabled_optimizers=disabled)
        return inspection.op_counts(tmp_path / f"{name}.onnx")["SkipLayerNormalization"]

    assert loaded("free", []) > 0
    assert loaded("held", ["SkipLayerNormFusion"]) == 0
