import copy
import hashlib

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tutorial_utils.graph import export, inspection, static, storage
from tutorial_utils.runtime import inference

BATCHES = [inference.random_inputs(2, 12, seed) for seed in range(4)]
UNSEEN = inference.random_inputs(4, 20, seed=9)


@pytest.fixture(scope="module")
def plain(tiny_model, tmp_path_factory):
    """The tiny BERT with the attention that providers' fusions know."""
    target = tmp_path_factory.mktemp("static") / "plain.onnx"
    return export.export(tiny_model, target, attention="eager")


@pytest.fixture(scope="module")
def outlying(tiny_model, tmp_path_factory):
    """One neuron of each layer is a hundred times larger than the others, as in trained models."""
    model = copy.deepcopy(tiny_model)
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.intermediate.dense.bias[5] = 40
            layer.attention.output.LayerNorm.weight[3] = 30
    target = tmp_path_factory.mktemp("static") / "outlying.onnx"
    return export.export(model, target, attention="eager")


@pytest.fixture(scope="module")
def quantized(plain, tmp_path_factory):
    return static.recommended(plain, tmp_path_factory.mktemp("static") / "int8.onnx", BATCHES)


class Graph:
    """A file's nodes by what they make, and its constants by name."""

    def __init__(self, path):
        graph = onnx.load(str(path)).graph
        self.nodes = list(graph.node)
        self.makers = {name: node for node in graph.node for name in node.output}
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}

    def products(self):
        return [node for node in self.nodes if node.op_type in static.PRODUCTS]

    def before(self, name):
        """Type of the node that makes a value; None of an input or a constant."""
        node = self.makers.get(name)
        return node.op_type if node else None


def answer(path, inputs=UNSEEN):
    return inference.onnx_predict(path)(inputs)


def error(path, reference):
    return float(np.abs(answer(path) - answer(reference)).max())


def test_answers_are_near_those_of_fp32(plain, quantized):
    assert 0 < error(quantized, plain) < 0.02


def test_every_input_of_every_product_has_8_bits(quantized):
    graph = Graph(quantized)
    assert len(graph.products()) == 2 * 8 + 2  # in each layer six of weights, two of activations
    for node in graph.products():
        assert [graph.before(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2


def test_no_result_of_a_product_is_rounded(quantized):
    graph = Graph(quantized)
    made = {name for node in graph.products() for name in node.output}
    readers = [n for n in graph.nodes if n.op_type == "QuantizeLinear" and n.input[0] in made]
    assert readers == []


def test_weights_are_int8_with_one_scale_a_column(quantized):
    graph, count = Graph(quantized), 0
    for node in graph.products():
        stored, scale, *_ = graph.makers[node.input[1]].input
        if stored in graph.constants:
            count += 1
            columns = 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
            assert graph.constants[stored].dtype == np.int8
            assert graph.constants[scale].shape == (graph.constants[stored].shape[columns],)
    assert count == 2 * 6 + 2


def test_activations_are_uint8_with_one_scale(quantized):
    graph = Graph(quantized)
    found = [node for node in graph.nodes if node.op_type == "QuantizeLinear"]
    assert found
    for node in found:
        _, scale, zero = node.input
        assert graph.constants[scale].size == 1
        assert graph.constants[zero].dtype == np.uint8


def test_embedding_tables_are_in_8_bits_and_the_file_is_a_fourth(plain, quantized):
    floats = [
        c for c in Graph(quantized).constants.values() if c.dtype == np.float32 and c.ndim > 1
    ]
    assert all(min(c.shape) == 1 for c in floats)  # the scales of rows
    assert inspection.weight_megabytes(plain) / inspection.weight_megabytes(quantized) > 3


def test_an_excluded_product_stays_in_fp32(plain, tmp_path):
    of_weights, of_attention = Graph(plain).products()[-3].name, static.attention_products(plain)
    assert len(of_attention) == 4  # two in each layer
    chosen = {of_weights, *of_attention}
    graph = Graph(
        static.recommended(plain, tmp_path / "mixed.onnx", BATCHES, exclude=sorted(chosen))
    )
    rounded = [[graph.before(n) == "DequantizeLinear" for n in node.input[:2]]
               for node in graph.products()]  # fmt: skip
    wanted = [[node.name not in chosen] * 2 for node in graph.products()]
    assert rounded == wanted


@pytest.mark.parametrize("write", [static.calibrated, static.recommended])
def test_an_unknown_product_cannot_be_excluded(write, plain, tmp_path):
    with pytest.raises(ValueError, match="no product of the name nobody"):
        write(plain, tmp_path / "x.onnx", BATCHES, exclude=["nobody"])
    assert list(tmp_path.iterdir()) == []


def test_ranges_need_samples(plain, tmp_path):
    with pytest.raises(ValueError, match="at least one batch"):
        static.calibrated(plain, tmp_path / "x.onnx", [])
    assert list(tmp_path.iterdir()) == []


def test_ranges_are_those_of_all_batches(plain, tmp_path):
    """A scale measured on both batches is the larger one, up to the shift of zero."""

    def scales(name, batches):
        graph = Graph(static.calibrated(plain, tmp_path / name, batches))
        found = [node for node in graph.nodes if node.op_type == "QuantizeLinear"]
        return np.array([graph.constants[node.input[1]].item() for node in found])

    first, second, both = (
        scales(name, batches)
        for name, batches in (("a", BATCHES[:1]), ("b", BATCHES[1:2]), ("c", BATCHES[:2]))
    )
    assert (first != second).any()
    assert (both >= np.maximum(first, second) * (1 - 1e-6)).all()


def test_the_same_input_gives_the_same_bytes(plain, quantized, tmp_path):
    again = static.recommended(plain, tmp_path / quantized.name, iter(BATCHES))
    assert again.read_bytes() == quantized.read_bytes()


def test_smoothing_keeps_the_function(outlying, tmp_path):
    assert static.smooth(outlying, tmp_path / "smooth.onnx", BATCHES) == 8  # four in each layer
    np.testing.assert_allclose(answer(tmp_path / "smooth.onnx"), answer(outlying), atol=1e-4)


def test_outliers_cost_less_after_smoothing(outlying, tmp_path):
    def eight_bits(source):  # seven would hide a part of the difference
        target = tmp_path / f"{source.stem}_int8.onnx"
        return static.calibrated(source, target, BATCHES, reduce_range=False)

    smooth = tmp_path / "smooth.onnx"
    assert static.smooth(outlying, smooth, BATCHES) > 0
    as_it_is, smoothed = eight_bits(outlying), eight_bits(smooth)
    assert error(smoothed, outlying) < 0.5 * error(as_it_is, outlying)


def test_only_the_target_is_written_and_nothing_is_said(plain, tmp_path, capfd):
    before = hashlib.sha256(plain.read_bytes()).digest()
    assert static.recommended(plain, tmp_path / "int8.onnx", BATCHES) == tmp_path / "int8.onnx"
    assert [p.name for p in tmp_path.iterdir()] == ["int8.onnx"]
    assert hashlib.sha256(plain.read_bytes()).digest() == before
    assert capfd.readouterr() == ("", "")


def test_large_weights_are_beside_the_graph(plain, quantized, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LARGEST", 0)
    target = static.recommended(plain, tmp_path / "int8.onnx", BATCHES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["int8.onnx", "int8.onnx.data"]
    assert target.stat().st_size < quantized.stat().st_size / 2
    np.testing.assert_array_equal(answer(target), answer(quantized))
