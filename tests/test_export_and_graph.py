import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tutorial_utils.graph import export, inspection
from tutorial_utils.runtime import inference


def test_batch_and_sequence_are_dynamic_and_named(tiny_onnx):
    summary = inspection.summary(tiny_onnx)
    assert summary.inputs == dict.fromkeys(export.INPUTS, ("batch", "sequence"))
    assert summary.opsets["ai.onnx"] == export.OPSET


def test_the_file_holds_all_weights(tiny_model, tiny_onnx):
    weights = sum(p.numel() for p in tiny_model.parameters())
    summary = inspection.summary(tiny_onnx)
    # The biases of a new model are zeros, which the exporter folds away where it can.
    held = sum(np.prod(w.dims) for w in inspection.load_structure(tiny_onnx).graph.initializer)
    assert held == pytest.approx(weights, rel=1e-3)
    assert summary.megabytes == pytest.approx(4 * weights / 1e6, rel=0.1)
    assert [p.name for p in tiny_onnx.parent.iterdir()] == [tiny_onnx.name]


def test_parity_at_every_shape_padded_rows_included(tiny_model, tiny_onnx):
    parity = export.parity(tiny_model, tiny_onnx)
    assert len(parity.differences) == len(export.SHAPES)
    assert any(difference.padded_rows for difference in parity.differences)
    assert parity.within(1e-5)
    assert not parity.within(0)


def test_parity_sees_a_changed_weight(tiny_model, tiny_onnx, tmp_path):
    model = onnx.load(str(tiny_onnx))
    weight = next(w for w in model.graph.initializer if w.name == "classifier.weight")
    values = 2 * onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, str(tmp_path / "changed.onnx"))
    # Without a bias, twice the weights are twice the logits.
    inputs = inference.random_inputs(1, export.SHAPES[0][1])
    largest = np.abs(inference.onnx_predict(tiny_onnx)(inputs)).max()
    parity = export.parity(tiny_model, tmp_path / "changed.onnx")
    assert parity.differences[0].maximum == pytest.approx(largest, rel=1e-3)


def test_padding_does_not_change_an_answer(tiny_onnx):
    predict = inference.onnx_predict(tiny_onnx)
    alone = inference.random_inputs(1, 7)
    padded = {k: np.pad(v, ((0, 0), (0, 9))) for k, v in alone.items()}
    assert np.allclose(predict(alone), predict(padded), atol=1e-5)


def test_parity_refuses_answers_that_are_not_finite(tiny_model, tiny_onnx):
    class Broken(torch.nn.Module):
        def forward(self, **inputs):
            output = tiny_model(**inputs)
            output.logits[-1] = float("nan")
            return output

    with pytest.raises(export.ParityError, match="Not every logit is finite"):
        export.parity(Broken(), tiny_onnx)


def test_parity_refuses_logits_of_another_shape(tiny_onnx):
    class Wider(torch.nn.Module):
        def forward(self, input_ids, **_):
            return {"logits": torch.zeros(len(input_ids), 3)}

    with pytest.raises(export.ParityError, match="shapes"):
        export.parity(Wider(), tiny_onnx)


def test_an_encoder_layer_is_cut_out_by_the_flow_of_data(tiny_onnx, tiny_fused):
    plain, fused = inspection.encoder_layer(tiny_onnx, 1), inspection.encoder_layer(tiny_fused, 1)
    ops = sorted(fused.nodes[node]["op"] for node in fused)
    assert ops.count("Attention") == 1
    assert ops.count("MatMul") == 3
    assert len(plain) > 3 * len(fused)
    with pytest.raises(ValueError, match="layers 0 to 1"):
        inspection.encoder_layer(tiny_onnx, 2)


def test_counts_and_size_of_a_file_with_weights_beside_it(tmp_path):
    weight = onnx.numpy_helper.from_array(np.ones((200, 100), np.float32), "w")
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 200])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 100])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [given], [result], [weight]))
    path = tmp_path / "m.onnx"
    onnx.save(
        model, str(path), save_as_external_data=True, location="m.onnx.data", size_threshold=0
    )
    assert inspection.op_counts(path) == {"MatMul": 1}
    assert inspection.megabytes(path) == pytest.approx(0.08, rel=0.05)


def test_an_export_with_eager_attention_leaves_the_model_as_it_was(tiny_model, tiny_onnx, tmp_path):
    before = tiny_model.config._attn_implementation
    eager = export.export(tiny_model, tmp_path / "eager.onnx", attention="eager")
    assert tiny_model.config._attn_implementation == before
    assert "IsNaN" in inspection.op_counts(tiny_onnx)
    assert "IsNaN" not in inspection.op_counts(eager)
    assert export.parity(tiny_onnx, eager).within(1e-5)
