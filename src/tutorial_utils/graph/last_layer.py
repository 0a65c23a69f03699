"""CLS-only last layer: of the last layer, compute only the position that the classifier reads.

A classifier reads one position of the last hidden states, mostly the first. In the last layer,
products, sums, normalizations and Gelus of all other positions are therefore wasted; only their
keys and values are needed. The answer changes only by rounding.
"""

import functools

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tutorial_utils.graph import rewrites
from tutorial_utils.graph.rewrites import array_of, constant, is_constant, producer

# Operators whose answer for a position depends on that position alone.
_BY_POSITION = {
    "Add", "BiasGelu", "Div", "Erf", "FastGelu", "Gelu", "LayerNormalization", "MatMul", "Mul",
    "Sub", "Tanh",
}  # fmt: skip


def read_one_position(model: ir.Model) -> int:
    """Move the choice of a position as far up as it goes; return how many operators it passed.

    Works in place, before quantization. An operator is passed only if nothing else reads its
    result at all positions, so that none is computed twice. The way up ends at the keys and values
    of the last layer. The nodes that computed all positions are left for ``RemoveUnusedNodesPass``.
    0: the graph reads more than one position.
    """
    passed = 0
    for gather in [node for node in model.graph if _chooses_position(node)]:
        if movable := _read_by_position(model, gather):
            _move_up(model, gather, movable)
            passed += len(movable)
    return passed


def _chooses_position(node: ir.Node) -> bool:
    """A ``Gather`` of one index along the positions: (batch, sequence, width) → (batch, width)."""
    if node.op_type != "Gather" or "axis" not in node.attributes:
        return False
    one = is_constant(node.inputs[1]) and array_of(node.inputs[1]).ndim == 0
    return one and not is_constant(node.inputs[0]) and node.attributes["axis"].as_int() == 1


def _move_up(model: ir.Model, gather: ir.Node, movable: set[ir.Node]) -> None:
    """Repeat the ``movable`` operators for the position of ``gather``, and replace it by them."""
    tape = Tape()
    index = array_of(gather.inputs[1]).reshape(1).astype(np.int64)
    position = constant(model, f"position_{index[0]}", index)

    @functools.cache
    def chosen(value: ir.Value | None) -> ir.Value:
        """``value`` (batch, sequence, width) at the position: (batch, 1, width)."""
        node = producer(value)
        if node is None or node not in movable:
            return tape.op("Gather", [value, position], {"axis": 1})
        if node.op_type == "Attention":
            return _one_query(model, tape, node, chosen(node.inputs[0]))
        inputs = [v if v is None or is_constant(v) else chosen(v) for v in node.inputs]
        return tape.op(node.op_type, inputs, node.attributes, domain=node.domain)

    axis = constant(model, "position_axis", np.array([1]))
    tape.op("Squeeze", [chosen(gather.inputs[0]), axis])
    rewrites.replace(model, gather, tape)


def _one_query(model: ir.Model, tape: Tape, node: ir.Node, query: ir.Value) -> ir.Value:
    """An Attention with one query a text, and keys and values of all its positions."""
    given, weights, biases, mask = node.inputs
    projected = []
    for letter, source, weight, bias in zip(
        "qkv", (query, given, given), _thirds(weights), _thirds(biases), strict=True
    ):
        name = f"{node.outputs[0].name}_{letter}"
        product = tape.op("MatMul", [source, constant(model, f"{name}_weight", weight)])
        projected.append(tape.op("Add", [product, constant(model, f"{name}_bias", bias)]))
    inputs = [*projected, None, mask]
    return tape.op("MultiHeadAttention", inputs, node.attributes, domain=rewrites.ORT_DOMAIN)


def _read_by_position(model: ir.Model, gather: ir.Node) -> set[ir.Node]:
    """The nodes above ``gather`` that can be computed for its position alone.

    Each one works by position, and only ``gather`` and other such nodes read it. An attention is
    among them, but what it reads is not: it takes keys and values of all positions.
    """
    found = {gather}
    for node in reversed(model.graph):  # readers come before what they read
        readers = [reader for value in node.outputs for reader, _ in value.uses()]
        free = readers and not any(value.is_graph_output() for value in node.outputs)
        chosen = all(r in found and r.op_type != "Attention" for r in readers)
        if free and chosen and (_by_position(node) or _plain(node)):
            found.add(node)
    return found - {gather}


def _by_position(node: ir.Node) -> bool:
    if node.op_type not in _BY_POSITION or len(node.outputs) != 1:
        return False
    if node.op_type == "LayerNormalization" and node.attributes["axis"].as_int() != -1:
        return False
    if node.op_type == "MatMul":
        return is_constant(node.inputs[1]) and not is_constant(node.inputs[0])
    # A constant with a row for each position would have to be sliced, too.
    return all(_fits(value) for value in node.inputs)


def _fits(value: ir.Value | None) -> bool:
    """A constant for all positions, or a value (batch, sequence, width) as far as it is known."""
    shape = value.shape if value is not None else None
    if shape is None:
        return True
    return shape.rank() <= 1 if is_constant(value) else shape.rank() == 3 and shape[1] != 1


def _plain(node: ir.Node) -> bool:
    """Packed constant projections with bias, a padding mask, and nothing else."""
    return (
        node.op_type == "Attention"
        and [v is not None for v in node.inputs] == [True] * 4
        and all(map(is_constant, node.inputs[1:3]))
        and rewrites.is_int32_of(node.inputs[3], "attention_mask")
        and set(node.attributes) <= {"num_heads", "scale"}
    )


def _thirds(value: ir.Value | None) -> list[np.ndarray]:
    """Queries', keys' and values' parts of packed weights or biases."""
    return [np.ascontiguousarray(part) for part in np.split(array_of(value), 3, axis=-1)]
