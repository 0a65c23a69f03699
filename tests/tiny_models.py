"""Registries of tiny models; a version is written in milliseconds."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tutorial_utils import registry as versions
from tutorial_utils.registry import ModelForm

LABELS = ("negative", "positive")
WORDS = {"[UNK]": 0, "warm": 1}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
}


def classifier(inputs=("input_ids",), output="logits", weights=(1.0, 1.0)) -> onnx.ModelProto:
    """A classifier that gives each text the same logits, its ``weights``."""
    given_ = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "s"]) for n in inputs]
    nodes = [
        helper.make_node("Cast", [inputs[0]], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["ids", "axis"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "weights"], [output]),
    ]
    constants = {
        "axis": np.array([1]),
        "zero": np.zeros(1, np.float32),
        "weights": np.array(weights, np.float32),
    }
    graph = helper.make_graph(
        nodes, "classifier", given_,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["b", len(weights)])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def add(registry: Path, model: onnx.ModelProto | bytes, name: str = "sentiment") -> Path:
    """Write the next version of a model; return its folder."""
    with tempfile.TemporaryDirectory() as scratch:
        source, tokenizer = Path(scratch, "made.onnx"), Path(scratch, "tokenizer.json")
        source.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        tokenizer.write_text(json.dumps(TOKENIZER))
        return versions.write_version(registry, name, [ModelForm(source)], tokenizer, LABELS)
