"""INT8 embeddings: tables in 8 bits with a scale for each row.

ONNX Runtime's quantizer gives a table one scale, so one large row makes the steps of all others
coarse. Here each row has its own scale, which is looked up with the row.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnx_ir.tape import Tape

from tutorial_utils.graph.rewrites import array_of, constant, is_constant, nodes, replace


def quantize_rows(model: ir.Model) -> int:
    """Store each float table that a Gather looks rows up in as int8, in place; return how many.

    Gather(table, ids) becomes Cast(Gather(levels, ids)) × Gather(scales, ids). A table of one
    column is left alone: its scales would be as large as itself.
    """
    stored: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
    for node in nodes(model, "Gather"):
        table, ids = node.inputs
        if table is None or not _is_table(table) or node.attributes.get_int("axis", 0) != 0:
            continue
        if table not in stored:
            rows = array_of(table)
            largest = np.abs(rows).max(axis=1, keepdims=True)
            smallest = np.finfo(np.float32).tiny  # what is less divides to infinity
            scale = np.where(largest > 0, np.maximum(largest / 127, smallest), 1)
            scale = scale.astype(np.float32)
            eight = np.rint(rows / scale).astype(np.int8)
            levels = constant(model, f"{table.name}_levels", eight)
            stored[table] = levels, constant(model, f"{table.name}_row_scales", scale)
        levels, scales = stored[table]
        tape = Tape()
        floats = tape.op("Cast", [tape.op("Gather", [levels, ids])], {"to": ir.DataType.FLOAT})
        tape.op("Mul", [floats, tape.op("Gather", [scales, ids])])
        replace(model, node, tape)
    RemoveUnusedNodesPass()(model)
    return len(stored)


def _is_table(value: ir.Value) -> bool:
    if not is_constant(value):
        return False
    array = array_of(value)
    return array.dtype == np.float32 and array.ndim == 2 and array.shape[1] > 1
