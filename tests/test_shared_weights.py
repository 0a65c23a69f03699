"""Weights that layers share (ALBERT) are written once."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from transformers import AlbertConfig, AlbertForSequenceClassification

from tutorial_utils.graph import export, fusion, inspection, quantization, rewrites, storage
from tutorial_utils.runtime import inference


@pytest.fixture(scope="module")
def albert():
    """Twelve layers with the weights of one."""
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=31_000,
        embedding_size=16,
        hidden_size=128,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=512,
        num_labels=2,
    )
    return AlbertForSequenceClassification(config).eval()


@pytest.mark.slow
def test_an_albert_is_as_small_as_its_weights_and_a_quarter_of_them_in_int8(albert, tmp_path):
    weights = sum(p.numel() * p.element_size() for p in albert.parameters()) / 1e6
    exported = export.export(albert, tmp_path / "exported.onnx")
    fused, paying = tmp_path / "fused.onnx", tmp_path / "paying.onnx"
    fusion.fuse(exported, fused)
    fusion.fuse_what_pays(exported, paying)
    assert inspection.op_counts(fused)["Attention"] == 12
    inputs = inference.random_inputs(4, 24)
    for file in (exported, fused, paying):  # the exporter's file names source lines, in 2 MB
        assert inspection.megabytes(file) < 1.2 * weights + 2 * (file == exported)
        assert export.parity(albert, file, shapes=((1, 24), (3, 17))).within(1e-5)
        target = tmp_path / f"{file.stem}_int8.onnx"
        quantization.recommended(file, target, [inference.random_inputs(2, 32)])
        assert inspection.megabytes(target) < 0.4 * weights
        exact, rounded = (inference.onnx_predict(f)(inputs) for f in (file, target))
        assert 0 < np.abs(exact - rounded).max() < 0.02
    assert inspection.op_counts(tmp_path / "fused_int8.onnx")["QAttention"] == 12


def test_only_equal_matrices_of_one_type_are_shared(tiny_fused):
    model = ir.load(str(tiny_fused))
    assert storage.share_matrices(model) == 0  # BERT's layers have their own
    graph = model.graph
    first = next(v for v in graph.initializers.values() if v.const_value.shape.rank() == 2)
    matrix = first.const_value.numpy()
    same = rewrites.constant(model, "same", matrix)
    for name, other in (
        ("half", matrix.astype(np.float16)),
        ("turned", matrix.T),
        ("flat", matrix.ravel()),
    ):
        rewrites.constant(model, name, other)
    node = next(node for node in graph if first in node.inputs)
    node.replace_input_with(list(node.inputs).index(first), same)
    assert storage.share_matrices(model) == 1
    assert "same" not in graph.initializers
    assert first in node.inputs
    assert {"half", "turned", "flat"} <= set(graph.initializers)
