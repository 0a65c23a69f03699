"""The rule of each operator: the same answer where the position is chosen before it."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from tutorial_utils.graph import fusion
from tutorial_utils.runtime import inference

GRAPH = """<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>
one_position (float[batch, sequence, 4] x, float[batch, sequence, 4] z) => (last)
<int64 first = {0}> { %s last = Gather<axis = 1>(y, first) }"""
CONSTANTS = {
    "rows": np.random.default_rng(0).normal(0, 1, (5, 4)).astype(np.float32),
    "table": np.random.default_rng(1).normal(0, 1, (9, 1)).astype(np.float32),
    "scale": np.arange(1, 5, dtype=np.float32),
    "heads": np.array([0, 0, 2, 2]),
    "joined": np.array([0, 0, -1]),
    "mixed": np.array([0, 2, -1, 2]),
    "flat": np.array([-1, 4]),
    "unflat": np.array([-1, 2, 4]),
    "minus": np.array([-1]),
} | {f"axis{i}": np.array([i]) for i in range(4)}
TURN = "Transpose<perm = [0, 2, 1]>"
INDICES = "i = Cast<to = 7>(x) a = Abs(i)"
PASSED = {  # nodes that make y → how many of them the position passes
    "y = Softmax<axis = -1>(x)": 1,
    "y = Softmax<axis = 1>(x)": 0,
    "y = LayerNormalization<axis = -1>(x, scale)": 1,
    "y = LayerNormalization<axis = 1>(x, scale)": 0,
    "c = Less(x, z) y = Where(c, x, scale)": 2,
    "y = ReduceMean<keepdims = 1>(x, minus)": 1,
    "y = ReduceMean<keepdims = 1>(x, axis1)": 0,
    "m = ReduceSum<keepdims = 1>(x, axis1) y = Mul(x, m)": 1,
    "a, b = Split<axis = 2, num_outputs = 2>(x) y = Mul(b, a)": 2,
    "a, b = Split<axis = 1, num_outputs = 2>(x) y = Mul(b, a)": 1,
    "y = Concat<axis = -1>(x, z)": 1,
    "y = Concat<axis = 1>(x, z)": 0,
    "y = Slice(x, axis1, axis3, minus)": 1,
    "y = Slice(x, axis1, axis2, axis1)": 0,
    "u = Unsqueeze(x, minus) s = Squeeze(u, axis3) y = Neg(s)": 3,
    "u = Unsqueeze(x, axis1) y = Squeeze(u, axis1)": 2,
    "y = Unsqueeze(x, axis1)": 0,
    f"t = {TURN}(x) p = MatMul(rows, t) y = {TURN}(p)": 3,
    f"t = {TURN}(z) y = MatMul(x, t)": 1,
    f"t = {TURN}(x) y = com.microsoft.FusedMatMul<transA = 1>(t, t)": 1,
    "y = com.microsoft.FusedMatMul<transB = 1>(x, rows)": 1,
    "y = com.microsoft.Gelu(x)": 1,
    "r = Reshape(x, heads) s = Softmax(r) y = Reshape(s, joined)": 3,
    "r = Reshape(x, flat) y = Reshape(r, unflat)": 0,
    "r = Reshape(x, mixed) y = Transpose<perm = [0, 2, 1, 3]>(r)": 1,
    "n = Neg(x) s = Shape<end = 2>(z) t = Concat<axis = 0>(s, minus) y = Reshape(n, t)": 0,
    "n = Neg(x) s = Shape<start = 1, end = 2>(z) t = Concat<axis = 0>(axis0, s, minus)"
    " y = Reshape(n, t)": 2,
    # The size of what is passed: it may be read for the entry that becomes 1, but for no other.
    "n = Neg(x) s = Shape<start = 1, end = 2>(n) t = Concat<axis = 0>(axis0, s, minus)"
    " y = Reshape(n, t)": 2,
    "n = Neg(x) s = Shape<end = 1>(n) t = Concat<axis = 0>(s, axis0, minus) y = Reshape(n, t)": 1,
    "m = ReduceMax<keepdims = 1>(x, axis2) s = Shape<start = 2>(x)"
    " t = Concat<axis = 0>(axis1, axis1, s) e = Expand(m, t) y = Mul(e, x)": 3,
    f"{INDICES} y = Gather(table, a)": 3,
    f"{INDICES} y = GatherElements<axis = 2>(z, a)": 3,
    f"{INDICES} y = GatherElements<axis = 1>(z, a)": 3,
    "y = Gather<axis = 2>(x, axis1)": 1,
    "y = com.microsoft.MultiHeadAttention<num_heads = 2>(x, z, z)": 1,
    "y = com.microsoft.MultiHeadAttention<num_heads = 2, unidirectional = 1>(x, z, z)": 0,
    f"t = {TURN}(z) s = MatMul(z, t) u = Unsqueeze(s, axis1)"
    " y = com.microsoft.MultiHeadAttention<num_heads = 2>(x, z, z, , , u)": 3,
    "m = ReduceMax<keepdims = 0>(x, axis2) p = Cast<to = 7>(m)"
    " y = com.microsoft.RotaryEmbedding<num_heads = 2>(x, p, table, table)": 2,
    "n = Neg(x) a = Abs(n) m = ReduceSum<keepdims = 1>(n, axis1) y = Add(a, m)": 2,
    "y = CumSum(x, axis2)": 0,  # no rule
}


@pytest.mark.parametrize("body", PASSED)
def test_the_position_passes_what_it_can_and_the_answer_stays(body, tmp_path):
    model = parser.parse_model(GRAPH % body)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in CONSTANTS.items())
    onnx.save(model, tmp_path / "given.onnx")
    passed = fusion.narrow(tmp_path / "given.onnx", tmp_path / "narrow.onnx")
    assert passed == PASSED[body]

    generator = np.random.default_rng(0)
    before, after = (inference.onnx_predict(tmp_path / f"{n}.onnx") for n in ("given", "narrow"))
    for batch, sequence in ((2, 6), (1, 2)):
        inputs = {n: generator.uniform(0, 2, (batch, sequence, 4)) for n in ("x", "z")}
        inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
        np.testing.assert_allclose(before(inputs), after(inputs), atol=1e-6)
