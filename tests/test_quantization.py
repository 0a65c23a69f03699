import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnxruntime.quantization import QuantType

from benchmarks.search import static_quantization
from tutorial_utils.graph import inspection, quantization
from tutorial_utils.runtime import inference

matrices = arrays(np.float32, (4, 6), elements=st.floats(-100, 100, width=32))


@given(matrices, st.booleans())
def test_no_value_is_off_by_more_than_half_a_step(weights, per_channel):
    eight = quantization.quantize(weights, per_channel)
    assert eight.values.dtype == np.int8
    assert eight.values.min() >= -127
    error = np.abs(eight.dequantize() - weights)
    assert (error <= eight.scale / 2 * (1 + 1e-4) + 1e-6).all()


@given(matrices)
def test_one_scale_a_column_never_allows_a_larger_error(weights):
    one, many = (quantization.quantize(weights, channel) for channel in (False, True))
    assert (many.scale <= one.scale * (1 + 1e-6)).sum() >= (many.scale != 1).sum()


def test_a_matrix_by_hand():
    eight = quantization.quantize(np.array([[1.0, -2.54], [0.5, 0.0]], np.float32))
    assert eight.scale == pytest.approx(0.02)
    assert eight.values.tolist() == [[50, -127], [25, 0]]


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        quantization.quantize(np.array([[np.nan]], np.float32))


def test_dynamic_quantization_reaches_attention_and_embeddings(tiny_fused, tmp_path):
    target = quantization.dynamic(tiny_fused, tmp_path / "int8.onnx")
    counts = inspection.op_counts(target)
    assert counts["QAttention"] == 2
    assert counts["MatMul"] == counts["Attention"] == counts["Gemm"] == 0
    assert inspection.megabytes(tiny_fused) / inspection.megabytes(target) > 3.5
    assert [p.name for p in tmp_path.iterdir()] == ["int8.onnx"]


def test_without_the_embeddings_the_file_is_not_four_times_smaller(tiny_fused, tmp_path):
    target = quantization.dynamic(tiny_fused, tmp_path / "int8.onnx", embeddings="float")
    assert inspection.megabytes(tiny_fused) / inspection.megabytes(target) < 1.5


@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
def test_int8_answers_are_near_those_of_fp32(tiny_fused, tmp_path, weight_type):
    target = quantization.dynamic(tiny_fused, tmp_path / "int8.onnx", weight_type=weight_type)
    inputs = inference.random_inputs(4, 20)
    exact = inference.onnx_predict(tiny_fused)(inputs)
    rounded = inference.onnx_predict(target)(inputs)
    assert 0 < np.abs(exact - rounded).max() < 0.05


def test_static_quantization_uses_the_batches_it_is_given(tiny_onnx, tmp_path):
    seen = []

    def batches():
        for seed in range(3):
            seen.append(seed)
            yield inference.random_inputs(2, 12, seed)

    target = static_quantization.quantize(tiny_onnx, tmp_path / "static.onnx", batches())
    assert seen == [0, 1, 2]
    assert inspection.op_counts(target)["QuantizeLinear"] > 0
    inputs = inference.random_inputs(4, 12, seed=9)
    exact = inference.onnx_predict(tiny_onnx)(inputs)
    assert np.abs(exact - inference.onnx_predict(target)(inputs)).max() < 0.05


def test_the_source_is_never_written_to(tiny_fused, tmp_path):
    before = tiny_fused.read_bytes()
    quantization.dynamic(tiny_fused, tmp_path / "int8.onnx")
    assert tiny_fused.read_bytes() == before
