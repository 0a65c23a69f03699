import copy

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from tutorial_utils import candidates, export, fusion, graph, quantization, smoothing

BATCHES = [candidates.random_inputs(2, 12, seed) for seed in range(2)]


def logits(path, seed=9):
    return candidates.onnx_predict(path)(candidates.random_inputs(4, 20, seed))


@pytest.fixture(scope="session")
def outlying(tiny_model, tmp_path_factory):
    """A tiny BERT in which one channel and one neuron a layer are far larger than all others."""
    model = copy.deepcopy(tiny_model)
    for layer in model.bert.encoder.layer:
        layer.attention.output.LayerNorm.weight.data[3] *= 40
        layer.intermediate.dense.bias.data[5] += 40
    folder = tmp_path_factory.mktemp("tiny")
    export.export(model, folder / "exported.onnx")
    fusion.fuse_what_pays(folder / "exported.onnx", folder / "fused.onnx")
    return folder / "fused.onnx"


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(strength=st.floats(0, 1) | st.none(), neurons=st.integers(0, 6))
def test_the_smoothed_file_is_the_same_function(outlying, tmp_path, strength, neurons):
    target = tmp_path / "smooth.onnx"
    counts = smoothing.smooth(outlying, target, BATCHES, strength=strength, neurons=neurons)
    assert counts["neurons"] == 2 * neurons
    assert (counts["LayerNormalization"] > 0) == (strength is not None)
    np.testing.assert_allclose(logits(target), logits(outlying), atol=1e-5)


def test_eight_bits_are_nearer_to_fp32_after_smoothing(outlying, tmp_path):
    plain = quantization.dynamic(outlying, tmp_path / "plain.onnx")
    smooth = quantization.recommended(outlying, tmp_path / "smooth.onnx", BATCHES)
    errors = [np.abs(logits(path) - logits(outlying)).max() for path in (plain, smooth)]
    assert errors[1] < 0.6 * errors[0]


def test_ranges_are_those_of_all_batches(outlying):
    both = smoothing.ranges(outlying, BATCHES)
    each = [smoothing.ranges(outlying, [batch]) for batch in BATCHES]
    for name, seen in both.items():
        np.testing.assert_array_equal(seen.low, np.minimum(*(one[name].low for one in each)))
        np.testing.assert_array_equal(seen.high, np.maximum(*(one[name].high for one in each)))
        assert (seen.largest > 0).all()


def test_the_outlier_is_the_neuron_that_is_kept_in_fp32(outlying, tmp_path):
    target = tmp_path / "smooth.onnx"
    smoothing.smooth(outlying, target, BATCHES, strength=None, neurons=1)
    quantized = onnx.load(str(quantization.dynamic(target, tmp_path / "int8.onnx")))
    kept = [node for node in quantized.graph.node if node.name.startswith(smoothing.KEPT)]
    assert [node.op_type for node in kept] == ["MatMul"] * 4
    weights = {tensor.name: tensor for tensor in quantized.graph.initializer}
    biases = [numpy_helper.to_array(t) for n, t in weights.items() if n.endswith("_bias")]
    assert all(bias.shape == (1,) and bias > 39 for bias in biases)


def test_smoothing_takes_few_bytes(outlying, tmp_path):
    target = tmp_path / "smooth.onnx"
    smoothing.smooth(outlying, target, BATCHES)
    assert graph.megabytes(target) < graph.megabytes(outlying) + 0.02


def test_a_graph_without_gelus_or_products_is_left_as_it_is(tiny_fused, tmp_path):
    counts = smoothing.smooth(tiny_fused, tmp_path / "smooth.onnx", BATCHES)
    assert counts["neurons"] == 0  # its Gelus are fused with their biases
    np.testing.assert_allclose(logits(tmp_path / "smooth.onnx"), logits(tiny_fused), atol=1e-5)
