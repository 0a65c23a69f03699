"""Shapes of the values in a graph, ONNX Runtime's own operators included.

ONNX's shape inference knows no operator of the domain ``com.microsoft``, and nothing behind one.
"""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from tutorial_utils.graph.rewrites import ORT_DOMAIN

Size = int | str | None  # of an axis: a number, the name of a dynamic one, or unknown
Sizes = tuple[Size, ...]

BY_ELEMENT = (  # operators that work on each element, with broadcasting
    "Abs", "Add", "And", "BiasGelu", "Cast", "Ceil", "Clip", "Cos", "Div", "Equal", "Erf", "Exp",
    "FastGelu", "Gelu", "Greater", "GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual",
    "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "QuickGelu", "Reciprocal", "Relu",
    "Sigmoid", "Sign", "Sin", "Sqrt", "Sub", "Tanh", "Where",
)  # fmt: skip
# Operators whose result has the shape of their first input.
_KEEP_SHAPE = {
    "Attention", "BiasGelu", "FastGelu", "Gelu", "MultiHeadAttention", "QuickGelu",
    "RotaryEmbedding", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
}  # fmt: skip


def infer(model: ir.Model) -> None:
    """Give each value of the graph the shape that follows from those of the inputs, in place.

    An attention counts as one whose heads together are as wide as its input. Sizes that meet in
    broadcasting count as equal, unless one of them is the number 1.
    """
    twin = model.clone()
    for node in twin.graph:
        if node.domain == ORT_DOMAIN:
            _as_standard(node)
    ShapeInferencePass(check_type=False, strict_mode=False)(twin)
    equal = _equal_sizes(twin.graph)
    for node, other in zip(model.graph, twin.graph, strict=True):
        for value, inferred in zip(node.outputs, other.outputs, strict=False):
            value.type = inferred.type
            if (found := sizes(inferred)) is not None:
                value.shape = ir.Shape([equal.get(size, size) for size in found])


def _equal_sizes(graph: ir.Graph) -> dict[Size, Size]:
    """Each size that another one equals → the one for all of them, a number if that is known."""
    groups: dict[Size, set[Size]] = {}
    known: dict[Size, Size] = {}

    def now(value: ir.Value | None) -> Sizes:
        return tuple(known.get(size, size) for size in sizes(value) or ())

    for node in graph:
        for met in _equal_in(node, [now(value) for value in node.inputs], now(node.outputs[0])):
            group = met.union(*(groups.get(size, set()) for size in met))
            first = min(group, key=lambda one: (isinstance(one, str), str(one)), default=None)
            groups.update(dict.fromkeys(group, group))
            known.update(dict.fromkeys(group, first))
    return known


def _equal_in(node: ir.Node, given: list[Sizes], result: Sizes) -> Iterator[set[Size]]:
    """Sets of sizes that are equal if ``node`` can be computed."""
    product = node.op_type in ("MatMul", "Einsum")
    if product or node.op_type in BY_ELEMENT:
        from_last = [tuple(reversed(one))[2 if product else 0 :] for one in (*given, result)]
        for column in zip_longest(*from_last):
            yield {size for size in column if isinstance(size, str)}
    if node.op_type == "MatMul" and min(map(len, given)) > 1:
        yield {given[0][-1], given[1][-2]} - {None}
    before, after = elements(given[0] if given else ()), elements(result)
    if node.op_type == "Reshape" and before and after and after[0]:
        # The one size that is worked out from the others, after those on both sides cancel out.
        gone, new = (Counter(a[1]) - Counter(b[1]) for a, b in ((before, after), (after, before)))
        if not gone and new.total() == 1:
            yield {*new, before[0] // after[0]}
        elif before[0] == after[0] and gone.total() == new.total() == 1:
            yield {*gone, *new}


def sizes(value: ir.Value | None) -> Sizes | None:
    """The size of each axis of ``value``; None where not even their number is known."""
    held = ir.convenience.get_const_tensor(value) if value is not None else None
    shape = held.shape if held is not None else value.shape if value is not None else None
    if shape is None:
        return None
    return tuple(size if isinstance(size, int) else size.value for size in shape)


def elements(sizes: Sizes) -> tuple[int, list[str]] | None:
    """The number of elements as a product of a number and names; None if a size is unknown."""
    if None in sizes:
        return None
    numbers = math.prod(size for size in sizes if isinstance(size, int))
    return numbers, sorted(size for size in sizes if isinstance(size, str))


def attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer among the attributes of ``node``."""
    return node.attributes[name].as_int() if name in node.attributes else default


def _as_standard(node: ir.Node) -> None:
    """Make the node one of ONNX's own operators whose result has the same shape."""
    if node.op_type in _KEEP_SHAPE and not any(value.uses() for value in node.outputs[1:]):
        node.resize_inputs(1)
        node.resize_outputs(1)
        node.op_type, attributes = "Identity", {}
    elif node.op_type == "FusedMatMul" and not attribute(node, "transBatchA", 0):
        a = "ji" if attribute(node, "transA", 0) else "ij"
        b = "kj" if attribute(node, "transB", 0) else "jk"
        node.op_type, attributes = "Einsum", {"equation": f"...{a},...{b}->...ik"}
    else:
        return
    node.domain = ""
    node.attributes.clear()
    node.attributes.update({a.name: a for a in ir.convenience.convert_attributes(attributes)})
