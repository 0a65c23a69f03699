import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from tutorial_utils.graph import inspection, quantization, smoothquant
from tutorial_utils.runtime import inference

# The feed-forward part of an encoder layer, with the addition that goes past it.
TEXT = """<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>
layer (float[n, 32] x) => (float[n, 32] y) {
    a = LayerNormalization <axis = -1> (x, scale, shift)
    b = MatMul(a, first)
    c = Add(b, first_bias)
    d = com.microsoft.Gelu(c)
    e = MatMul(d, second)
    f = Add(e, second_bias)
    y = Add(f, a)
}"""
CHANNEL, NEURON = 3, 5  # the outliers


def batch(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(0, 1, (40, 32)).astype(np.float32)}


BATCHES = [batch(0), batch(1)]


def answer(path, seed=9):
    return inference.onnx_predict(path)(batch(seed))


@pytest.fixture(scope="session")
def outlying(tmp_path_factory):
    """A layer in which one channel and one neuron are far larger than all others."""
    generator = np.random.default_rng(0)

    def normal(*shape):
        return generator.normal(0, 0.2, shape).astype(np.float32)

    weights = {"scale": np.ones(32, np.float32), "shift": normal(32), "first": normal(32, 64)}
    weights |= {"first_bias": normal(64), "second": normal(64, 32), "second_bias": normal(32)}
    weights["scale"][CHANNEL] *= 40
    weights["first"][CHANNEL] /= 40
    weights["first_bias"][NEURON] += 40
    model = parser.parse_model(TEXT)
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for i, node in enumerate(model.graph.node):
        node.name = f"node_{i}"
    target = tmp_path_factory.mktemp("layer") / "outlying.onnx"
    onnx.save(model, str(target))
    return target


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(alpha=st.floats(0, 1) | st.none(), neurons=st.integers(0, 6))
def test_the_smoothed_file_is_the_same_function(outlying, tmp_path, alpha, neurons):
    target = tmp_path / "smooth.onnx"
    counts = smoothquant.smooth(outlying, target, BATCHES, alpha=alpha, neurons=neurons)
    assert counts == {"LayerNormalization": int(alpha is not None), "neurons": neurons}
    np.testing.assert_allclose(answer(target), answer(outlying), atol=1e-4)


def test_eight_bits_are_nearer_to_fp32_after_each_edit_and_nearest_after_both(outlying, tmp_path):
    def error(**edits):
        smoothquant.smooth(outlying, tmp_path / "smooth.onnx", BATCHES, **edits)
        target = quantization.dynamic(tmp_path / "smooth.onnx", tmp_path / "int8.onnx")
        return float(np.abs(answer(target) - answer(outlying)).mean())

    neither = error(alpha=None, neurons=0)
    migrated, kept, both = error(neurons=0), error(alpha=None, neurons=1), error(neurons=1)
    assert migrated < 0.95 * neither
    assert kept < 0.95 * neither
    assert both < 0.3 * neither


def test_ranges_are_those_of_all_batches(outlying):
    both = smoothquant.ranges(outlying, BATCHES)
    each = [smoothquant.ranges(outlying, [batch]) for batch in BATCHES]
    for name, seen in both.items():
        np.testing.assert_array_equal(seen, np.maximum(*(one[name] for one in each)))
        assert (seen > 0).all()


def test_the_outlier_is_the_neuron_that_is_kept_in_fp32(outlying, tmp_path):
    target = tmp_path / "smooth.onnx"
    smoothquant.smooth(outlying, target, BATCHES, alpha=None, neurons=1)
    quantized = onnx.load(str(quantization.dynamic(target, tmp_path / "int8.onnx"))).graph
    kept = [node for node in quantized.node if node.name.startswith(smoothquant.KEPT)]
    assert [node.op_type for node in kept] == ["MatMul", "MatMul"]
    (bias,) = [t for t in quantized.initializer if t.name.startswith(smoothquant.KEPT + "0_bias")]
    assert numpy_helper.to_array(bias) == pytest.approx([40], abs=1)


def test_the_range_shows_which_channel_is_the_outlier(outlying):
    seen = smoothquant.ranges(outlying, BATCHES)["a"]
    assert seen.argmax() == CHANNEL
    assert seen[CHANNEL] > 10 * np.median(seen)


def test_smoothing_takes_few_bytes(outlying, tmp_path):
    target = tmp_path / "smooth.onnx"
    smoothquant.smooth(outlying, target, BATCHES)
    assert inspection.megabytes(target) < inspection.megabytes(outlying) + 0.003


def test_a_real_graph_stays_the_same_function(tiny_fused, tmp_path):
    inputs = [inference.random_inputs(2, 12, seed) for seed in range(2)]
    counts = smoothquant.smooth(tiny_fused, tmp_path / "smooth.onnx", inputs)
    assert counts["neurons"] == 0  # its Gelus are fused with their biases
    before, after = (
        inference.onnx_predict(path)(inference.random_inputs(4, 20))
        for path in (tiny_fused, tmp_path / "smooth.onnx")
    )
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize("neurons", [0, 2])
def test_a_smoothed_file_can_be_smoothed_again(neurons, outlying, tmp_path):
    """The second pass makes constants of its own; it must not read those of the first."""
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    smoothquant.smooth(outlying, once, BATCHES, neurons=neurons)
    smoothquant.smooth(once, twice, BATCHES, alpha=0.7, neurons=neurons)
    np.testing.assert_allclose(answer(twice), answer(outlying), atol=1e-4)
    names = [node.name for node in onnx.load(str(twice)).graph.node if node.name]
    assert len(names) == len(set(names))
