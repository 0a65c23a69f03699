"""What operators read for one index of an axis of their result.

A rule takes a node, the sizes of its inputs (none for one that is left out), and an axis of its
result. It says from which axis of each input to choose the same index, or None for an input that is
read whole. It returns None where it does not apply.
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from tutorial_utils.graph import rewrites, shapes
from tutorial_utils.graph.rewrites import array_of, is_constant, producer
from tutorial_utils.graph.shapes import BY_ELEMENT, Sizes, attribute


@dataclass(frozen=True)
class One:
    """Of an input that is a shape: this entry becomes 1."""

    entry: int


Choice = int | One | None  # of an input: an axis to choose from; None: read whole
Rule = Callable[[ir.Node, list[Sizes], int], list[Choice] | None]


def choices(node: ir.Node, axis: int) -> list[Choice] | None:
    """A choice for each input of ``node``, so that its result has one index of ``axis`` only.

    Shapes must be there, see ``shapes.infer``. None: the node cannot do with less than its inputs.
    """
    known = [shapes.sizes(value) if value is not None else () for value in node.inputs]
    given = [sizes for sizes in known if sizes is not None]
    if node.op_type not in RULES or len(given) < len(known):
        return None
    found = RULES[node.op_type](node, given, axis)
    return found if found and any(isinstance(choice, int) for choice in found) else None


def entries(shape: ir.Value | None) -> list[ir.Value]:
    """The values of one entry each that ``shape`` is put together from; none if it is not."""
    node = producer(shape)
    parts = [v for v in node.inputs if v is not None] if node and node.op_type == "Concat" else []
    return parts if all(shapes.sizes(part) == (1,) for part in parts) else []


def _by_element(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice]:
    """With broadcasting: axes are counted from the last one."""
    rank = max(map(len, given))
    return [_from_last(sizes, axis - rank) for sizes in given]


def _from_last(sizes: Sizes, negative: int) -> int | None:
    """The axis of that number; None where it is missing, or where broadcasting repeats it."""
    axis = len(sizes) + negative
    return axis if axis >= 0 and sizes[axis] != 1 else None


def _first_only(given: list[Sizes], axis: int, unless: bool = False) -> list[Choice] | None:
    return None if unless else [axis, *[None] * (len(given) - 1)]


def _along_last(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    """Works along an axis and perhaps those after it."""
    return _first_only(given, axis, unless=axis >= _axis(node, given[0], -1))


def _split(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    return _first_only(given, axis, unless=axis == _axis(node, given[0]))


def _concat(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    return None if axis == _axis(node, given[0]) else [axis] * len(given)


def _axis(node: ir.Node, sizes: Sizes, default: int = 0) -> int:
    return attribute(node, "axis", default) % len(sizes)


def _reduce(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    along = _constant_axes(node, 1, len(given[0]))
    unless = along is None or axis in along or not attribute(node, "keepdims", 1)
    return _first_only(given, axis, unless)


def _slice(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    along = _constant_axes(node, 3, len(given[0]))
    return _first_only(given, axis, unless=along is None or axis in along)


def _unsqueeze(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    after = shapes.sizes(node.outputs[0])
    new = _constant_axes(node, 1, len(after)) if after else None
    return None if new is None or axis in new else [axis - sum(a < axis for a in new), None]


def _squeeze(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    gone = _constant_axes(node, 1, len(given[0]))
    if gone is None:
        return None
    return [[a for a in range(len(given[0])) if a not in gone][axis], None]


def _constant_axes(node: ir.Node, position: int, rank: int) -> set[int] | None:
    """The axes that an input names, counted from the first; None if they are not known."""
    value = node.inputs[position] if position < len(node.inputs) else None
    return {a % rank for a in array_of(value).tolist()} if is_constant(value) else None


def _transpose(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    return [node.attributes["perm"].as_ints()[axis]] if "perm" in node.attributes else None


def _reshape(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    """An axis that keeps its size, and so many elements before it or behind it."""
    before, after = given[0], shapes.sizes(node.outputs[0])
    for i, size in enumerate(before):
        if after is None or size is None or size != after[axis]:
            continue
        if _same(before[:i], after[:axis]) or _same(before[i + 1 :], after[axis + 1 :]):
            # An entry of 0 copies a size of the input: not the one that becomes 1.
            copies = is_constant(node.inputs[1]) and 0 in array_of(node.inputs[1])[i : i + 1]
            return None if copies and i != axis else _shaped(node, i, axis)
    return None


def _same(one: Sizes, other: Sizes) -> bool:
    return (number := shapes.elements(one)) is not None and number == shapes.elements(other)


def _expand(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    after = shapes.sizes(node.outputs[0])
    return _shaped(node, _from_last(given[0], axis - len(after)), axis) if after else None


def _shaped(node: ir.Node, choice: int | None, axis: int) -> list[Choice] | None:
    known = is_constant(node.inputs[1]) or axis < len(entries(node.inputs[1]))
    return [choice, One(axis)] if known else None


def _matmul(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    """Rows are the first input's, columns the second's, and batches both inputs'."""
    a, b = given
    negative = axis - max(len(a), len(b))
    if min(len(a), len(b)) < 2 or any(attribute(node, f"transBatch{x}", 0) for x in "AB"):
        return None
    if negative == -2:
        return [len(a) - (1 if attribute(node, "transA", 0) else 2), None]
    if negative == -1:
        return [None, len(b) - (2 if attribute(node, "transB", 0) else 1)]
    return [_from_last(a, negative), _from_last(b, negative)]


def _gather(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice]:
    data, indices = given
    first = _axis(node, data)
    if first <= axis < first + len(indices):
        return [None, axis - first]
    return [axis if axis < first else axis - len(indices) + 1, None]


def _gather_elements(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice]:
    return [None if axis == _axis(node, given[0]) else axis, axis]


def _attention(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    """Packed constant projections with bias, a padding mask, and nothing else.

    The first input is read whole as well: keys and values are of all positions.
    """
    plain = (
        [value is not None for value in node.inputs] == [True] * 4
        and all(map(is_constant, node.inputs[1:3]))
        and rewrites.is_int32_of(node.inputs[3], "attention_mask")
        and set(node.attributes) <= {"num_heads", "scale"}
    )
    return _first_only(given, axis, unless=not plain or axis != 1)


def _multi_head_attention(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    """Queries (batch, sequence, width), and an attention bias (batch, heads, queries, keys)."""
    query, key, _, _, mask, bias, *more = [*given, *[()] * 6][: max(6, len(given))]
    if axis != 1 or len(query) != 3 or not key or len(mask) > 2 or any(more):
        return None
    if attribute(node, "unidirectional", 0):
        return None
    choices: list[Choice] = [axis, None, None, None, None, _from_last(bias, -2)]
    return choices[: len(given)]


def _rotary_embedding(node: ir.Node, given: list[Sizes], axis: int) -> list[Choice] | None:
    """Positions (batch, sequence) say how far each one is turned."""
    values, positions, *_ = given
    unless = len(positions) != 2 or axis != len(values) - 2
    return None if unless else [axis, 1, *[None] * (len(given) - 2)]


_NORMALIZATIONS = ("LayerNormalization", "SimplifiedLayerNormalization", "Softmax")
RULES: dict[str, Rule] = {
    **dict.fromkeys(BY_ELEMENT, _by_element),
    **dict.fromkeys(_NORMALIZATIONS, _along_last),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _reduce),
    **dict.fromkeys(("MatMul", "FusedMatMul"), _matmul),
    "Attention": _attention,
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "MultiHeadAttention": _multi_head_attention,
    "Reshape": _reshape,
    "RotaryEmbedding": _rotary_embedding,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
