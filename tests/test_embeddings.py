import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper, parser

from tutorial_utils.graph import quantization

TEXT = """<ir_version: 8, opset_import: ["": 18]>
look (int64[n] ids) => (float[n, 4] y) { y = Gather(table, ids) }"""


def looked_up(table: np.ndarray) -> tuple[onnx.ModelProto, int]:
    model = parser.parse_model(TEXT)
    model.graph.initializer.append(numpy_helper.from_array(table, "table"))
    edited = ir.from_proto(model)
    count = quantization.quantize_rows(edited)
    return ir.to_proto(edited), count


def run(model: onnx.ModelProto, ids: list[int]) -> np.ndarray:
    evaluator = onnx.reference.ReferenceEvaluator(model)
    return evaluator.run(None, {"ids": np.array(ids)})[0]


def test_a_large_row_does_not_spoil_the_others():
    table = np.random.default_rng(0).normal(0, 0.05, (6, 4)).astype(np.float32)
    table[2] *= 1_000
    model, count = looked_up(table)
    assert count == 1
    error = np.abs(run(model, [0, 1, 2, 3]) - table[:4])
    assert (error <= np.abs(table[:4]).max(axis=1, keepdims=True) / 127 / 2 * 1.001).all()
    assert {t.name: t.data_type for t in model.graph.initializer} == {
        "table_levels": onnx.TensorProto.INT8,
        "table_row_scales": onnx.TensorProto.FLOAT,
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 1e-44])  # of the second, a step cannot be represented
def test_a_row_of_zeros_or_next_to_nothing_stays_so(value):
    model, _ = looked_up(np.full((3, 4), value, np.float32))
    assert np.abs(run(model, [1])).max() <= 2e-44


def test_a_lookup_along_another_axis_is_left_alone():
    model = parser.parse_model(TEXT.replace("Gather(", "Gather<axis = 1>("))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 4), np.float32), "table"))
    edited = ir.from_proto(model)
    assert quantization.quantize_rows(edited) == 0
    assert [node.op_type for node in edited.graph] == ["Gather"]
