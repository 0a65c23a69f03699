"""CLS-only last layer: of the last layer, compute only the position that the classifier reads.

A classifier reads one position of the last hidden states, mostly the first. In the last layer,
queries, scores, products, sums, normalizations and Gelus of all other positions are therefore
wasted; only their keys and values are needed. The answer changes only by rounding.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tutorial_utils.graph import axes, rewrites, shapes
from tutorial_utils.graph.axes import Choice, One
from tutorial_utils.graph.rewrites import array_of, constant, is_constant

Passed = dict[ir.Node, list[Choice]]  # what an operator reads for the position alone; last first


def read_one_position(model: ir.Model) -> int:
    """Choose the position before the last layer, not behind it; return how many operators see it.

    Works in place, before quantization. The choice moves up from operator to operator, along the
    axis that the positions are on. It passes an operator only if nothing else reads its result at
    all positions, so that none is computed twice. So it ends at the keys and values of the last
    layer. What nothing reads any more is left for ``RemoveUnusedNodesPass``.
    0: the graph reads more than one position.
    """
    shapes.infer(model)
    count = 0
    for index in (0, -1):  # both are right where broadcasting repeats an axis of one position
        gathers = [node for node in model.graph if _reads_position(node, index)]
        if passed := _passed(model, gathers):
            _move_up(model, gathers, passed, index)
            count += len(passed)
    return count


def _reads_position(node: ir.Node, index: int) -> bool:
    """A ``Gather`` of that index along the positions: (batch, sequence, width) → (batch, width)."""
    if node.op_type != "Gather" or "axis" not in node.attributes or is_constant(node.inputs[0]):
        return False
    chosen = array_of(node.inputs[1]) if is_constant(node.inputs[1]) else np.empty(0)
    return chosen.shape == () and chosen == index and node.attributes["axis"].as_int() == 1


def _passed(model: ir.Model, gathers: list[ir.Node]) -> Passed:
    """The operators that are needed at the position of ``gathers`` only.

    Goes up the graph and collects from which axes the readers of each value choose. One that reads
    all of it chooses from None.
    """
    asked: dict[ir.Value, set[int | None]] = defaultdict(set)
    for value in model.graph.outputs:
        asked[value].add(None)
    passed: Passed = {}
    for node in reversed(model.graph):  # readers come before what they read
        first, *others = (asked[value] for value in node.outputs)
        wanted = first.union(*others)
        single = node.op_type == "Split" or not any(others)  # a rule is about the first result
        axis = next(iter(wanted)) if len(wanted) == 1 and single else None
        choices: list[Choice] | None = None
        if node in gathers:
            choices = [1, None]
        elif axis is not None and (choices := axes.choices(node, axis)):
            passed[node] = choices
        if wanted:  # otherwise nothing reads it any more
            for value, read in _read(node, choices or [None] * len(node.inputs)):
                asked[value].add(read)
    return passed


def _read(node: ir.Node, choices: list[Choice]) -> Iterator[tuple[ir.Value, int | None]]:
    """The values that a node reads by these choices, and the axis that it chooses from."""
    for value, choice in zip(node.inputs, choices, strict=True):
        if isinstance(choice, One):
            parts = axes.entries(value)
            yield from ((part, None) for i, part in enumerate(parts) if i != choice.entry)
        elif value is not None:
            yield value, choice
            if node.op_type == "Attention":
                yield value, None  # for keys and values


def _move_up(model: ir.Model, gathers: list[ir.Node], passed: Passed, index: int) -> None:
    """Let the operators compute the position alone."""
    position = constant(model, f"position_{index}", np.array([index]))
    one = constant(model, "one_position", np.array([1]))
    narrow = {value for node in passed for value in node.outputs}
    made: dict[tuple[ir.Value, Choice], ir.Value] = {}  # what several operators read is made once

    def chosen(tape: Tape, value: ir.Value, choice: Choice) -> ir.Value:
        if choice is None or value in narrow:
            return value
        if (value, choice) not in made:
            made[value, choice] = (
                _with_one(model, tape, value, choice.entry, one)
                if isinstance(choice, One)
                else tape.op("Gather", [value, position], {"axis": choice})
            )
        return made[value, choice]

    for node in reversed(passed):  # in the order of the graph
        tape, given = Tape(), node.inputs
        for i, (value, choice) in enumerate(zip(given, passed[node], strict=True)):
            if value is not None:
                node.replace_input_with(i, chosen(tape, value, choice))
        if node.op_type == "Attention":
            _project(model, tape, node, given[0])
        model.graph.insert_before(node, tape.nodes)
        for value in node.outputs:
            value.shape = None
    for gather in gathers:
        if gather.inputs[0] in narrow:
            tape = Tape()
            tape.op("Squeeze", [gather.inputs[0], one])
            rewrites.replace(model, gather, tape)


def _with_one(model: ir.Model, tape: Tape, shape: ir.Value, entry: int, one: ir.Value) -> ir.Value:
    """``shape`` with 1 at ``entry``."""
    if is_constant(shape):
        array = array_of(shape).copy()
        array[entry] = 1
        return constant(model, f"{shape.name}_at_position", array)
    parts = axes.entries(shape)
    parts[entry] = one
    return tape.op("Concat", parts, {"axis": 0})


def _project(model: ir.Model, tape: Tape, node: ir.Node, given: ir.Value | None) -> None:
    """Make an Attention one with a query of its own, and keys and values of all positions."""
    query, weights, biases, mask = node.inputs
    projected = []
    for letter, source, weight, bias in zip(
        "qkv", (query, given, given), _thirds(weights), _thirds(biases), strict=True
    ):
        name = f"{node.outputs[0].name}_{letter}"
        product = tape.op("MatMul", [source, constant(model, f"{name}_weight", weight)])
        projected.append(tape.op("Add", [product, constant(model, f"{name}_bias", bias)]))
    node.op_type = "MultiHeadAttention"
    node.resize_inputs(5)
    for i, value in enumerate([*projected, None, mask]):
        node.replace_input_with(i, value)


def _thirds(value: ir.Value | None) -> list[np.ndarray]:
    """Queries', keys' and values' parts of packed weights or biases."""
    return [np.ascontiguousarray(part) for part in np.split(array_of(value), 3, axis=-1)]
