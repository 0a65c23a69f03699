"""Rotary positions: one RotaryEmbedding each for queries and keys (ModernBERT).

ONNX Script's fusions know rotary positions too, but not where the angles are a product of
positions and frequencies by elements, as here.
"""

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass
from onnxscript.rewriter import pattern

from tutorial_utils.graph.rewrites import ORT_DOMAIN, array_of, input_of, is_constant, is_number


def fuse(model: ir.Model) -> int:
    """Fuse rotary positions before attention in place; return how many nodes have them."""
    pattern.RewriteRuleSet([_Square.rule()]).apply_to_model(model)
    RemoveUnusedNodesPass()(model)  # what nothing reads would keep the other patterns from matching
    count = pattern.RewriteRuleSet([_Rotated.rule()]).apply_to_model(model)
    if count:
        pattern.RewriteRuleSet([_Third.rule()]).apply_to_model(model)
        CommonSubexpressionEliminationPass()(model)  # angles are the same in many layers
    return count


class _Rotated(pattern.RewriteRuleClassBase):
    """x · cos + (-second half of x, first half of x) · sin, of x (batch, heads, n, size)."""

    def pattern(self, op, given, cosine, sine, middle, start, end):
        turned = op.Transpose(given, perm=[0, 2, 1, 3], _outputs=["turned"])
        first = op.Slice(turned, start, middle, [3], [1])
        second = op.Slice(turned, middle, end, [3], [1])
        rotated = op.Concat(op.Neg(second), first, axis=-1)
        total = op.Add(op.Mul(turned, cosine), op.Mul(rotated, sine))
        back = op.Transpose(total, perm=[0, 2, 1, 3])
        return op.Reshape(back, [0, 0, -1])

    def check(self, op, given, cosine, sine, middle, start, end, **_):
        result = pattern.MatchResult()
        shape = given.shape
        if shape is None or shape.rank() != 4 or not isinstance(shape[2], int):
            return result.fail("The number of heads is not known.")
        half = shape[3] / 2 if isinstance(shape[3], int) else 0
        if not (is_number(start, 0) and is_number(middle, half) and is_constant(end)):
            return result.fail("It is not halves that are rotated.")
        self.heads, self.angles = shape[2], _angles(cosine, "Cos")
        if array_of(end).item() < 2 * half or self.angles is None:
            return result.fail("The angles are not those of positions.")
        if self.angles is not _angles(sine, "Sin"):
            return result.fail("Sine and cosine are of different angles.")
        return result

    def rewrite(self, op, given, **_):
        angles = op.Squeeze(self.angles, op.Constant(value_ints=[0]))  # (n, size / 2)
        joined = op.Reshape(given, op.Constant(value_ints=[0, 0, -1]))
        return op.RotaryEmbedding(
            joined,
            op.Constant(value_ints=[0]),  # the first position
            op.Cos(angles),
            op.Sin(angles),
            num_heads=self.heads,
            _domain=ORT_DOMAIN,
        )


class _Third(pattern.RewriteRuleClassBase):
    """Queries, keys or values of packed projections, cut off before the split into heads."""

    def pattern(self, op, split, start, end, axis):
        part = op.Squeeze(op.Slice(split, start, end, axis), axis)
        return op.Reshape(part, [0, 0, -1])

    def check(self, op, split, start, end, axis, **_):
        result = pattern.MatchResult()
        self.packed = packed = input_of(split, "Reshape")
        if (
            packed is None
            or packed.shape is None
            or packed.shape.rank() != 3
            or split.shape is None
        ):
            return result.fail("The projections have no known shape.")
        width, parts = packed.shape[2], split.shape[2] if split.shape.rank() == 5 else 0
        if not isinstance(width, int) or not isinstance(parts, int) or not parts:
            return result.fail("The projections are not packed.")
        if not is_number(axis, -3) or not (is_constant(start) and is_constant(end)):
            return result.fail("It is not one of the projections that is cut off.")
        self.width = width // parts
        return result

    def rewrite(self, op, start, end, **_):
        first, last = (int(array_of(v).item()) * self.width for v in (start, end))
        ints = [op.Constant(value_ints=[number]) for number in (first, last, 2)]
        return op.Slice(self.packed, *ints)


class _Square(pattern.RewriteRuleClassBase):
    """A mask (batch, 1, n, n) is not to be expanded to n rows once more in each layer."""

    def pattern(self, op, query, key, value, mask, shape):
        return op.MultiHeadAttention(
            query, key, value, None, None, op.Expand(mask, shape),
            _domain=ORT_DOMAIN, _outputs=["attention"],
        )  # fmt: skip

    def check(self, op, mask, shape, **_):
        result, sizes = pattern.MatchResult(), mask.shape
        square = sizes is not None and sizes.rank() == 4 and sizes[2] == sizes[3]
        target = shape.producer()
        rows = target is not None and target.op_type == "Concat" and len(target.inputs) == 4
        if not square or not rows or not all(is_number(target.inputs[i], 1) for i in (0, 1, 3)):
            return result.fail("The mask is expanded to another shape.")
        return result

    def rewrite(self, op, query, key, value, mask, attention, **_):
        settings = {n: a.value for n, a in attention.producer().attributes.items()}
        return op.MultiHeadAttention(
            query, key, value, None, None, mask, **settings, _domain=ORT_DOMAIN
        )


def _angles(value: ir.Value | None, op: str) -> ir.Value | None:
    """The angles (1, n, size / 2) of which ``value`` (1, 1, n, size) is sine or cosine, twice."""
    both = input_of(input_of(value, "Unsqueeze"), op)
    node = both.producer() if both is not None else None
    if node is None or node.op_type != "Concat" or len(node.inputs) != 2:
        return None
    half, other = node.inputs
    shape = half.shape if half is not None and half is other else None
    return half if shape is not None and shape.rank() == 3 and shape[0] == 1 else None
