"""INT8 embeddings: tables in 8 bits with a scale for each row.

ONNX Runtime's quantizer gives a table one scale, so one large row makes the steps of all others
coarse. Here a row is looked up, and its scale too.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tutorial_utils.graph.rewrites import free_name


def quantize_rows(model: onnx.ModelProto) -> int:
    """Store each float table that a Gather looks rows up in as int8, in place; return how many.

    Gather(table, ids) becomes Cast(Gather(levels, ids)) × Gather(scales, ids). A table of one
    column is left alone: its scales would be as large as itself.
    """
    tables = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and len(tensor.dims) == 2
        and tensor.dims[1] > 1
    }
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    nodes, stored = [], {}
    for node in model.graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables or _axis(node) != 0:
            nodes.append(node)
            continue
        (name, ids), out = node.input, node.output[0]
        if name not in stored:
            names = [free_name(f"{name}_{part}", taken) for part in ("levels", "row_scales")]
            stored[name] = _levels_and_scales(numpy_helper.to_array(tables[name]), *names)
            taken.update(names)
        levels, scales = (tensor.name for tensor in stored[name])
        parts = [free_name(f"{out}_{part}", taken) for part in ("levels", "floats", "scales")]
        taken.update(parts)
        nodes.append(helper.make_node("Gather", [levels, ids], [parts[0]]))
        nodes.append(helper.make_node("Cast", [parts[0]], [parts[1]], to=onnx.TensorProto.FLOAT))
        nodes.append(helper.make_node("Gather", [scales, ids], [parts[2]]))
        nodes.append(helper.make_node("Mul", parts[1:], [out]))
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    kept += [tensor for pair in stored.values() for tensor in pair]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    return len(stored)


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _levels_and_scales(
    table: np.ndarray, levels_name: str, scales_name: str
) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    largest = np.abs(table).max(axis=1, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    levels = np.rint(table / scales).astype(np.int8)
    return (
        numpy_helper.from_array(levels, levels_name),
        numpy_helper.from_array(scales, scales_name),
    )
