"""What is in an ONNX file: operator counts, a summary, and one encoder layer as a graph to draw."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx
import numpy as np
import onnx

from tutorial_utils.core import paths
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.graph import storage
from tutorial_utils.runtime.session import SessionRecipe, open_session

NORMALIZATIONS = ("LayerNormalization", "SkipLayerNormalization")


@dataclass(frozen=True)
class Summary:
    """What an ONNX file holds. Shapes have a name where a dimension is dynamic."""

    inputs: dict[str, tuple[str | int, ...]]
    opsets: dict[str, int]
    nodes: int
    megabytes: float  # 10^6 bytes on disk


def load_structure(path: Path) -> onnx.ModelProto:
    """The model; weights kept in a file of their own are not read."""
    return onnx.load(str(path), load_external_data=False)


def op_counts(path: Path) -> Counter:
    """How many nodes of each operator the file has."""
    return Counter(node.op_type for node in load_structure(path).graph.node)


def summary(path: Path) -> Summary:
    """Inputs, opset versions and sizes of an ONNX file."""
    model = load_structure(path)
    return Summary(
        inputs={value.name: _shape(value) for value in model.graph.input},
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        nodes=len(model.graph.node),
        megabytes=megabytes(path),
    )


def megabytes(path: Path) -> float:
    """Size on disk in MB (10^6 bytes), a file with the model's weights beside it included."""
    files = (Path(path), paths.weights_of(Path(path)))
    return sum(file.stat().st_size for file in files if file.exists()) / 1e6


def weight_megabytes(path: Path) -> float:
    """Size of the weights in a file in MB (10^6 bytes): numbers with a fraction, and 8-bit ones.

    Unlike ``megabytes`` it leaves out the graph itself and its wider integers, such as shapes.
    """
    arrays = (onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer)
    return sum(a.nbytes for a in arrays if a.dtype.kind not in "iu" or a.itemsize == 1) / 1e6


def tensors(
    path: Path, names: Sequence[str], batches: Iterable[dict[str, np.ndarray]]
) -> Iterator[dict[str, np.ndarray]]:
    """The tensors ``names`` inside the graph, by name, for each batch of inputs."""
    model = onnx.load(str(path))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    with tempfile.TemporaryDirectory() as folder:
        file = storage.write(model, Path(folder, "model.onnx"))
        session = open_session(file, SessionRecipe(optimization="basic"))
        given = [value.name for value in session.get_inputs()]
        for inputs in batches:
            values = session.run(names, {name: inputs[name] for name in given})
            yield dict(zip(names, values, strict=True))


def products(path: Path) -> dict[str, onnx.NodeProto]:
    """Matrix products by the name of the layer, which is that of the bias added to them."""
    graph = load_structure(path).graph
    made_by = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    found = {}
    for add in (node for node in graph.node if node.op_type == "Add"):
        biases = [name for name in add.input if name.endswith(".bias")]
        before = [made_by[name] for name in add.input if name in made_by]
        if biases and before:
            found[biases[0].removesuffix(".bias")] = before[0]
    return found


def encoder_layer(path: Path, layer: int = 0) -> networkx.DiGraph:
    """The nodes of one encoder layer, from the normalization before it to its own last one.

    Each graph node has ``op`` (operator) and edges follow the data. A BERT layer normalises twice,
    after one normalization of the embeddings.

    Raises:
        ValueError: the model has no such layer.
    """
    full = _dataflow(load_structure(path))
    norms = [n for n in networkx.topological_sort(full) if full.nodes[n]["op"] in NORMALIZATIONS]
    if not 0 <= layer < (len(norms) - 1) // 2:
        raise InvalidArgument(f"{Path(path).name} has layers 0 to {(len(norms) - 1) // 2 - 1}.")
    first, last = norms[2 * layer], norms[2 * layer + 2]
    inside = networkx.descendants(full, first) & networkx.ancestors(full, last)
    return full.subgraph(inside | {first, last}).copy()


def _dataflow(model: onnx.ModelProto) -> networkx.DiGraph:
    flow = networkx.DiGraph()
    producer = {name: i for i, node in enumerate(model.graph.node) for name in node.output if name}
    for i, node in enumerate(model.graph.node):
        flow.add_node(i, op=node.op_type)
        flow.add_edges_from((producer[name], i) for name in node.input if name in producer)
    return flow


def _shape(value: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    return tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
