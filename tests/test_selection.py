"""Computing one position: the same answers from fewer operators, and hands off other graphs."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tutorial_utils.graph import export, fusion, inspection, quantization
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.inference import random_inputs


@pytest.fixture(scope="module")
def narrowed(tiny_fused, tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrowed")
    fusion.unfuse(tiny_fused, folder / "apart.onnx")
    passed = fusion.narrow(folder / "apart.onnx", folder / "narrow.onnx")
    return folder / "narrow.onnx", passed


@pytest.mark.parametrize("side", ["right", "left"])
def test_one_position_gives_the_same_logits_at_all_shapes(tiny_model, narrowed, side):
    found = export.parity(tiny_model, narrowed[0], padding=Padding(side=side))
    assert found.maximum < 1e-6


def test_only_the_last_layer_is_narrowed(narrowed):
    path, passed = narrowed
    counts = inspection.op_counts(path)
    # Of two layers one keeps its fused attention; the other has one query a text.
    assert (counts["Attention"], counts["MultiHeadAttention"]) == (1, 1)
    assert passed == 12  # attention, 3 products, 5 additions, Gelu, 2 normalizations
    assert len(onnx.load(path).graph.node) == sum(counts.values())


def test_the_last_layer_works_on_one_row_a_text(narrowed, tiny_model):
    path, _ = narrowed
    model = onnx.load(path)
    (query,) = (n for n in model.graph.node if n.op_type == "MultiHeadAttention")
    model.graph.output.append(helper.make_empty_tensor_value_info(query.output[0]))

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    _, attended = session.run(None, random_inputs(3, 17))
    assert attended.shape == (3, 1, tiny_model.config.hidden_size)


def test_a_narrowed_graph_quantizes_whole(narrowed, tmp_path):
    counts = inspection.op_counts(quantization.dynamic(narrowed[0], tmp_path / "int8.onnx"))
    assert counts["QAttention"] == 1
    assert counts["MatMul"] == 0


def test_a_narrowed_graph_is_not_narrowed_again(narrowed, tmp_path):
    path, _ = narrowed
    assert fusion.narrow(path, tmp_path / "again.onnx") == 0


def test_no_operator_of_an_unfused_graph_is_computed_twice(tiny_model, tiny_onnx, tmp_path):
    """Its attention is many nodes, and the residual path leads past them to the first layer."""
    passed = fusion.narrow(tiny_onnx, tmp_path / "narrow.onnx")
    before, after = inspection.op_counts(tiny_onnx), inspection.op_counts(tmp_path / "narrow.onnx")
    # The states and the mask are chosen from in place of the last states; two shapes have a 1.
    assert after - before == Counter(Gather=1, Squeeze=1, Concat=2)
    assert before - after == Counter()
    # Of attention 13 (of them 5 the softmax and its guards), the 15 others of the layer.
    assert passed == 28
    assert export.parity(tiny_model, tmp_path / "narrow.onnx").maximum < 1e-6


def test_hidden_states_that_are_an_output_too_are_computed_once(tiny_onnx, tmp_path):
    model = onnx.load(tiny_onnx)
    (gather,) = (n for n in model.graph.node if n.op_type == "Gather" and n.output[0] == "select")
    model.graph.output.append(helper.make_empty_tensor_value_info(gather.input[0]))
    onnx.save(model, tmp_path / "states.onnx")
    assert fusion.narrow(tmp_path / "states.onnx", tmp_path / "same.onnx") == 0


@pytest.mark.parametrize("op", ["ReduceMean", "Softmax"])
def test_a_graph_that_mixes_positions_is_left_as_it_is(op, tmp_path):
    """A mean over the positions, or a softmax across them, reads all of them."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["mixed"], axis=1)
        if op == "Softmax"
        else helper.make_node("ReduceMean", ["x", "axes"], ["mixed"], keepdims=1),
        helper.make_node("Gather", ["mixed", "zero"], ["y"], axis=1),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array(0), "zero"),
        onnx.numpy_helper.from_array(np.array([1]), "axes"),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 4])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    proto = helper.make_model(helper.make_graph(nodes, "mixes", [given], [made], constants))
    onnx.save(proto, tmp_path / "mixes.onnx")
    assert fusion.narrow(tmp_path / "mixes.onnx", tmp_path / "same.onnx") == 0
    assert inspection.op_counts(tmp_path / "same.onnx") == {op: 1, "Gather": 1}
