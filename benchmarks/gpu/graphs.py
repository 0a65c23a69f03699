"""Build the graphs to measure, without their weights: ``python -m benchmarks.gpu.graphs FOLDER``.

All come from the current exporter. ``fused`` has the operators that ONNX Runtime's CUDA provider
has kernels for: EmbedLayerNormalization, Attention, SkipLayerNormalization with the bias before it,
BiasGelu. Its token ids are int32, which saves the casts. ``masked`` is the same with a padding
mask: EmbedLayerNormalization turns it into one length for each row, the only mask that the fast
attention kernels take. ``plain`` is what the exporter wrote. ``cls`` and ``cls_masked`` are
``fused`` and ``masked`` whose last layer, after its attention, computes only the position that the
classifier reads.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.gpu import weights
from benchmarks.search import fusion_variants
from tutorial_utils.graph import export

TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "vocab_size": 500,
}  # fmt: skip
STRIPPED = 64  # initializers of fewer elements keep their values


def build(folder: Path, config: dict) -> None:
    """Write ``config.json`` and the graphs to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    model = seeded_model(config)
    with tempfile.TemporaryDirectory() as temporary:
        plain, fused = Path(temporary) / "plain.onnx", Path(temporary) / "fused.onnx"
        export.export(model, plain)
        fusion_variants.write(plain, fused, "all")
        for name, source, edit in (
            ("plain", plain, None),
            ("fused", fused, without_mask),
            ("masked", fused, with_lengths),
            ("cls", fused, without_mask),
            ("cls_masked", fused, with_lengths),
        ):
            graph = onnx.load(source)
            del graph.graph.value_info[:]
            if edit:
                take_int32(graph.graph)
                edit(graph.graph)
            if name.startswith("cls"):
                first_position(graph.graph)
            give_state(graph.graph)
            made_of = recipes(graph, model)
            if name == "fused":
                save(graph, made_of, folder / "fused_fp32.onnx")
            half = convert_float_to_float16(graph, disable_shape_infer=True)
            save(half, made_of, folder / f"{name}_fp16.onnx")


def seeded_model(config: dict) -> torch.nn.Module:
    """The classifier with seeded weights, in float32 on the processor."""
    model = BertForSequenceClassification(BertConfig(num_labels=2, **config)).eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    drawn = {name: torch.from_numpy(weights.draw(name, shape)) for name, shape in shapes.items()}
    model.load_state_dict(drawn)
    return model


def take_int32(graph: onnx.GraphProto) -> None:
    """Drop the casts of the token ids and masks: the inputs themselves become int32."""
    inputs = {value.name: value for value in graph.input}
    for node in [n for n in graph.node if n.op_type == "Cast" and n.input[0] in inputs]:
        inputs[node.input[0]].type.tensor_type.elem_type = TensorProto.INT32
        replace(graph, node.output[0], node.input[0])
        graph.node.remove(node)


def without_mask(graph: onnx.GraphProto) -> None:
    """Every position is attended to: right where no row is padded."""
    for node in operators(graph, "Attention"):
        del node.input[3:]
    graph.input.remove(next(value for value in graph.input if value.name == "attention_mask"))


def with_lengths(graph: onnx.GraphProto) -> None:
    """Attention takes the lengths that EmbedLayerNormalization counts in the mask."""
    embeddings = operators(graph, "EmbedLayerNormalization")[0]
    embeddings.input.append("attention_mask")
    for node in operators(graph, "Attention"):
        node.input[3] = embeddings.output[1]


def first_position(graph: onnx.GraphProto) -> None:
    """After the last attention, go on with the first position alone: nothing reads the others."""
    last = operators(graph, "Attention")[-1]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    at = list(graph.node).index(last) + 1
    for value in (last.output[0], last.input[0]):
        chosen = f"{value}_first"
        for node in graph.node[at:]:
            node.input[:] = [chosen if name == value else name for name in node.input]
        gather = helper.make_node("Gather", [value, "first"], [chosen], axis=1)
        graph.node.insert(at, gather)


def give_state(graph: onnx.GraphProto) -> None:
    """Make the last hidden state (batch, sequence, hidden) the second output, for parity.

    Where one position is computed, the state has a sequence of one.
    """
    first = next(n for n in reversed(graph.node) if n.op_type in ("Gather", "Slice"))
    replace(graph, first.input[0], "state")
    shape = ["batch", "sequence", None]
    graph.output.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, shape))


def replace(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value wherever a node reads or writes it."""
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new


def operators(graph: onnx.GraphProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == op]


def recipes(graph: onnx.ModelProto, model: torch.nn.Module) -> dict[str, dict]:
    """Which parameters each large initializer is made of, found by comparing values.

    Raises:
        ValueError: one is made of nothing known.
    """
    parameters = {name: value.numpy() for name, value in model.state_dict().items()}
    groups = [[name] for name in parameters]
    queries = [name for name in parameters if ".self.query." in name]
    groups += [[q.replace("query", part) for part in ("query", "key", "value")] for q in queries]
    known = {}
    for names in groups:
        for transposed in (True, False):
            parts = [parameters[name].T if transposed else parameters[name] for name in names]
            shapes = [(name, parameters[name].shape) for name in names]
            recipe = {"parameters": shapes, "transposed": transposed}
            known[digest(np.concatenate(parts, axis=-1))] = recipe
    found = {}
    for initializer in graph.graph.initializer:
        array = onnx.numpy_helper.to_array(initializer)
        if array.size >= STRIPPED and array.dtype == np.float32:
            if digest(array) not in known:
                raise ValueError(f"{initializer.name} {array.shape} is no parameter of the model.")
            found[initializer.name] = known[digest(array)]
    return found


def digest(array: np.ndarray) -> tuple:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def save(model: onnx.ModelProto, made_of: dict[str, dict], target: Path) -> None:
    stripped = onnx.ModelProto()
    stripped.CopyFrom(model)
    weights.strip(stripped, made_of)
    target.write_bytes(stripped.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the graphs of the GPU measurement.")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument(
        "--tiny", action="store_true", help="a model of two small layers, for tests"
    )
    asked = parser.parse_args()
    build(asked.folder, TINY if asked.tiny else {})
    for file in sorted(asked.folder.iterdir()):
        print(f"{file.stat().st_size / 1e3:8.1f} kB  {file.name}")


if __name__ == "__main__":
    main()
