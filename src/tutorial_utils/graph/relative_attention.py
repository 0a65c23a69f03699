"""DeBERTa's attention, whose scores depend on relative positions: fewer products of distances.

DeBERTa-v2 and v3 add products of queries and keys with embeddings of distances to the scores. With
four layers at 8 × 128, on two cores with AVX2, this edit makes fp32 take 0.95 [0.94, 0.97] of the
time and INT8 0.89 [0.85, 0.92]. A ``MultiHeadAttention`` for each layer, with the sum of the terms
as its ``attention_bias``, gained nothing beyond that (0.97 and 0.90). Nor did it for MPNet, which
adds a learned number for each distance (1.00 to 1.04).
"""

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass
from onnxscript.rewriter import pattern

from tutorial_utils.graph import rewrites
from tutorial_utils.graph.rewrites import array_of, input_of, is_constant, is_number, producer

_BY_ELEMENT = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Greater", "Less", "LessOrEqual", "Log",
    "Mul", "Neg", "Sign", "Sub", "Where",
}  # fmt: skip


def fuse(model: ir.Model) -> int:
    """Compute what depends on distances for those of a text only, in place; return how many terms.

    Expects constants folded, and the shapes that the exporter wrote.
    """
    count = pattern.RewriteRuleSet([_ByDistance.rule()]).apply_to_model(model)
    if count:  # distances are the same in all layers
        CommonSubexpressionEliminationPass()(model)
    return count


class _ByDistance(pattern.RewriteRuleClassBase):
    """DeBERTa's products with embeddings of all distances, of which a text has only some.

    The original multiplies by the embeddings of all distances, and picks one for each pair of
    positions. Here the 2 n embeddings that n positions need are looked up first, in the order of
    the distances n … -(n - 1). The product then holds all that is asked for, each row one place
    further to the right than the next: read with one column less, the rows are aligned. At 128
    positions that takes half the multiplications, and a copy instead of a look-up of each element.
    """

    def pattern(self, op, given, table, repeats, index, root):
        every = op.Tile(table, repeats)
        scores = op.FusedMatMul(
            given, every, transB=1, _domain=rewrites.ORT_DOMAIN, _outputs=["scores"]
        )
        picked = op.GatherElements(scores, index, axis=-1)
        turned = op.Transpose(picked, perm=[0, 2, 1])
        either = pattern.OrValue([turned, picked], tag_var="turn", tag_values=[True, False])
        return op.Div(either, root)

    def check(self, op, given, table, repeats, index, root, scores, **_):
        result = pattern.MatchResult()
        product = scores.producer().attributes
        if any(name not in ("alpha", "transB") and product[name].value for name in product):
            return result.fail("The product transposes its first input.")
        if product.get_float("alpha", 1.0) != 1 or not all(map(is_constant, (table, root))):
            return result.fail("The embeddings are not constant.")
        found, times = _of_heads(given), producer(repeats)
        if found is None or array_of(table).shape[::2] != found[1] or array_of(root).size != 1:
            return result.fail("The embeddings are not those of each head.")
        if times is None or times.op_type != "Concat":
            return result.fail("It is not known how the embeddings are repeated.")
        if not all(is_number(v, 1) for v in times.inputs[1:]):
            return result.fail("The embeddings are not the same for all texts.")
        self.index = input_of(index, "Expand")
        self.length = _length(self.index)
        return result if self.length else result.fail("The index does not follow from distances.")

    def rewrite(self, op, given, table, root, scores, turn, **_):
        length = self.length
        count = op.Unsqueeze(length, op.Constant(value_ints=[0]))
        by_head = input_of(given, "Reshape")  # (batch, heads, n, size)
        scaled = ir.tensor(array_of(table) / array_of(root), name=f"{scores.name}_table")
        needed = op.Gather(op.initializer(scaled), _along(op, self.index, length), axis=1)
        scores = op.FusedMatMul(by_head, needed, transB=1, _domain=rewrites.ORT_DOMAIN)
        flat = op.Reshape(scores, op.Constant(value_ints=[0, 0, -1]))
        last, axis = op.Constant(value_ints=[2**63 - 1]), op.Constant(value_ints=[2])
        flat = op.Slice(flat, count, last, axis)
        minus, zeros = op.Constant(value_ints=[-1]), op.Constant(value_ints=[0, 0])
        rows = op.Reshape(flat, op.Concat(zeros, count, minus, axis=0))
        start, axis = op.Constant(value_ints=[0]), op.Constant(value_ints=[3])
        rows = op.Slice(rows, start, count, axis)
        if turn:
            rows = op.Transpose(rows, perm=[0, 1, 3, 2])
        return op.Reshape(rows, op.Concat(minus, count, count, axis=0))


def _of_heads(value: ir.Value | None):
    """What is split into heads, and how: ((batch, n, width), (heads, size)), or None if it is not.

    value: (batch · heads, n, size).
    """
    value = input_of(value, "Reshape")
    turned, split = producer(value), input_of(value, "Transpose")
    source = input_of(split, "Reshape")
    if turned is None or split is None or source is None:
        return None
    given, shape = source.shape, split.shape
    if given is None or shape is None or (given.rank(), shape.rank()) != (3, 4):
        return None
    heads, size = shape[2], shape[3]
    if not isinstance(heads, int) or not isinstance(size, int) or given[2] != heads * size:
        return None
    right = tuple(turned.attributes["perm"].as_ints()) == (0, 2, 1, 3)
    return (source, (heads, size)) if right else None


def _length(value: ir.Value | None) -> ir.Value | None:
    """The n of which ``value`` (…, n, n) depends on the difference of two positions only."""
    node = producer(value)
    if node is None:
        return None
    if (found := _positions(node)) is not None:
        return found
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return _length(node.inputs[0])
    if node.op_type not in _BY_ELEMENT:
        return None
    varying = [v for v in node.inputs if not (is_constant(v) and array_of(v).size == 1)]
    lengths = {_length(v) for v in varying}
    return lengths.pop() if len(lengths) == 1 else None


def _positions(node: ir.Node) -> ir.Value | None:
    """The n of a node that subtracts positions 0 … n - 1 from the same as a column, (n, n)."""
    if node.op_type != "Sub":
        return None
    first, second = (input_of(v, "Unsqueeze") for v in node.inputs)
    steps = producer(first)
    if steps is None or first is not second or steps.op_type != "Range":
        return None
    start, length, step = steps.inputs
    counted = is_number(start, 0) and is_number(step, 1)
    return length if counted and [_axis(v) for v in node.inputs] == [1, 0] else None


def _axis(value: ir.Value | None) -> int | None:
    """Where ``value`` got its axis of size 1."""
    node = producer(value)
    axes = node.inputs[1] if node is not None and len(node.inputs) > 1 else None
    return array_of(axes).item() if is_constant(axes) and array_of(axes).size == 1 else None


def _along(op, value: ir.Value | None, length: ir.Value | None):
    """What ``value`` is at the differences n, n - 1 … -(n - 1). The first of them is not needed."""
    node = producer(value)
    if node is None:
        return value
    if _positions(node) is not None:
        one = op.Constant(value_int=1)
        every = op.Range(length, op.Neg(length), op.Neg(one))
        return op.Min(every, op.Sub(length, one))
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return _along(op, node.inputs[0], length)
    inputs = [v if is_constant(v) else _along(op, v, length) for v in node.inputs]
    settings = {name: attribute.value for name, attribute in node.attributes.items()}
    return getattr(op, node.op_type)(*inputs, **settings)
