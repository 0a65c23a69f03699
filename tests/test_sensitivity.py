import copy

import pytest
import torch

from benchmarks.search import sensitivity, static_quantization
from tutorial_utils.graph import export, inspection
from tutorial_utils.runtime import inference

BATCHES = [inference.random_inputs(2, 12, seed) for seed in range(2)]


@pytest.fixture(scope="module")
def static(tiny_onnx, tmp_path_factory):
    target = tmp_path_factory.mktemp("static") / "static.onnx"
    return static_quantization.quantize(tiny_onnx, target, BATCHES)


def test_activations_come_worst_first(tiny_onnx, static):
    errors = sensitivity.activations(tiny_onnx, static, BATCHES)
    assert len(errors) >= 6
    assert list(errors.values()) == sorted(errors.values())
    assert min(errors.values()) > 10


def test_the_readers_of_a_tensor_can_be_left_in_fp32(tiny_onnx, static, tmp_path):
    errors = sensitivity.activations(tiny_onnx, static, BATCHES)
    worst = next(name for name in errors if sensitivity.readers(tiny_onnx, [name]))
    names = sensitivity.readers(tiny_onnx, [worst])
    assert names
    mixed = static_quantization.quantize(tiny_onnx, tmp_path / "mixed.onnx", BATCHES, exclude=names)
    counts = [inspection.op_counts(path)["DequantizeLinear"] for path in (static, mixed)]
    assert counts[1] < counts[0]


def test_products_are_named_after_their_bias(tiny_model, tmp_path):
    model = copy.deepcopy(tiny_model)
    for parameter in model.parameters():  # equal biases, as at the start, are stored once
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter)
    found = inspection.products(export.export(model, tmp_path / "named.onnx"))
    assert len(found) == 12  # six in each of two layers
    assert "bert.encoder.layer.1.intermediate.dense" in found
    assert {node.op_type for node in found.values()} == {"MatMul"}
