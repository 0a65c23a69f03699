"""Graph edits that meet a file edited before: names that are taken stay what they were."""

from functools import partial

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper, parser

from benchmarks.search import fusion_variants
from tutorial_utils.graph import export, fusion, quantization, rewrites

TEXT = """<ir_version: 8, opset_import: ["": 18]>
same (float[n, 4] x) => (float[n, 4] y) { held = Identity(x) y = Identity(held) }"""


@pytest.fixture
def model():
    return ir.from_proto(parser.parse_model(TEXT))


def test_equal_constants_of_one_name_are_one_initializer(model):
    first, second = (rewrites.constant(model, "c", np.array([1.0, 2.0])) for _ in range(2))
    assert first is second
    assert list(model.graph.initializers) == ["c"]


@pytest.mark.parametrize(
    "other", [np.array([1.0, 3.0]), np.array([1.0]), np.array([1.0, 2.0], np.float32)]
)
def test_a_name_in_use_never_stands_for_another_constant(model, other):
    first = rewrites.constant(model, "c", np.array([1.0, 2.0]))
    second = rewrites.constant(model, "c", other)
    assert first.name != second.name
    np.testing.assert_array_equal(second.const_value.numpy(), other)
    assert rewrites.constant(model, "c", other) is second
    np.testing.assert_array_equal(first.const_value.numpy(), [1, 2])


@pytest.mark.parametrize("name", ["x", "held", "y"])
def test_a_constant_takes_no_name_of_another_value(model, name):
    assert rewrites.constant(model, name, np.ones(1)).name != name
    onnx.checker.check_model(ir.to_proto(model))


def test_epsilons_that_print_alike_stay_apart(model):
    norms = parser.parse_model("""<ir_version: 8, opset_import: ["": 18]>
    two (float[n, 4] x, float[4] scale, float[4] shift) => (float[n, 4] z) {
        y = LayerNormalization <axis = -1, epsilon = 0.001> (x, scale, shift)
        z = LayerNormalization <axis = -1, epsilon = 0.001000001> (y, scale, shift)
    }""")
    model = ir.from_proto(norms)
    assert fusion_variants.split_layer_norm(model) == 2
    found = {float(v.const_value.numpy().ravel()[0]) for v in model.graph.initializers.values()}
    assert len(found - {-1.0}) == 2


REPEATED = {
    "fuse": fusion.fuse,
    "fuse what pays": fusion.fuse_what_pays,
    "unfuse": fusion.unfuse,
    "narrow": fusion.narrow,
}
for name in ("all", "only packed QKV", "only MultiHeadAttention", "Attention, Gelu, one position"):
    REPEATED[name] = partial(fusion_variants.write, name=name)


@pytest.mark.parametrize("name", REPEATED)
def test_an_edit_applied_twice_keeps_the_function(
    name, tiny_model, tiny_fused, tiny_onnx, tmp_path
):
    edit = REPEATED[name]
    source = tiny_fused if name in ("unfuse", "narrow") else tiny_onnx
    edit(source, tmp_path / "once.onnx")
    edit(tmp_path / "once.onnx", tmp_path / "twice.onnx")
    assert export.parity(tiny_model, tmp_path / "twice.onnx").maximum < 1e-5


def test_tables_stored_by_rows_already_are_left_alone_and_no_name_is_taken_twice():
    given = parser.parse_model("""<ir_version: 8, opset_import: ["": 18]>
    look (int64[n] ids) => (float[n, 4] y, float[n, 4] z) {
        y = Gather(table, ids)
        z = Gather(table_levels, ids)
    }""")
    rng = np.random.default_rng(0)
    tables = {n: rng.normal(0, 1, (6, 4)).astype(np.float32) for n in ("table", "table_levels")}
    for name, table in tables.items():
        given.graph.initializer.append(numpy_helper.from_array(table, name))
    edited = ir.from_proto(given)
    assert quantization.quantize_rows(edited) == 2
    assert quantization.quantize_rows(edited) == 0
    model = ir.to_proto(edited)
    onnx.checker.check_model(model)
    found = onnx.reference.ReferenceEvaluator(model).run(None, {"ids": np.arange(6)})
    for answer, table in zip(found, tables.values(), strict=True):
        np.testing.assert_allclose(answer, table, atol=0.02)
