from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from benchmarks.search import fusion_variants
from tutorial_utils.graph import export, fusion, inspection, quantization
from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime import inference
from tutorial_utils.runtime.session import SessionRecipe

FUSED = (
    "Attention", "MultiHeadAttention", "Gelu", "FastGelu", "BiasGelu", "LayerNormalization",
    "SkipLayerNormalization", "EmbedLayerNormalization",
)  # fmt: skip


def test_every_layer_fuses_and_the_function_stays(tiny_onnx, tiny_fused):
    counts = inspection.op_counts(tiny_fused)
    assert counts["Attention"] == 2
    assert counts["SkipLayerNormalization"] == 4
    assert counts["BiasGelu"] == 2
    assert counts["Softmax"] == 0
    assert export.parity(tiny_onnx, tiny_fused).within(1e-5)


def test_fused_attention_is_as_the_quantizer_wants_it(tiny_fused):
    model = inspection.load_structure(tiny_fused)
    weights = {w.name for w in model.graph.initializer}
    attention = [n for n in model.graph.node if n.op_type == "Attention"]
    for node in attention:
        assert {node.input[1], node.input[2]} <= weights
        assert node.input[3] == "attention_mask_int32"
        assert "qkv_hidden_sizes" not in {a.name for a in node.attribute}
    assert not model.graph.value_info


def test_the_mask_is_kept(tiny_fused):
    predict = inference.onnx_predict(tiny_fused)
    alone = inference.random_inputs(1, 7)
    padded = {k: np.pad(v, ((0, 0), (0, 9))) for k, v in alone.items()}
    assert np.allclose(predict(alone), predict(padded), atol=1e-5)


def test_unfusing_leaves_none_of_the_operators_and_the_same_function(tiny_fused, tmp_path):
    target = tmp_path / "apart.onnx"
    undone = fusion.unfuse(tiny_fused, target)
    before, after = inspection.op_counts(tiny_fused), inspection.op_counts(target)
    assert undone == {op: before[op] for op in ("SkipLayerNormalization", "BiasGelu")}
    assert all(after[op] == 0 for op in undone)
    assert export.parity(tiny_fused, target).within(1e-5)


def test_what_pays_is_attention_without_the_slow_normalization(tiny_onnx, tmp_path):
    target = tmp_path / "best.onnx"
    fusion.fuse_what_pays(tiny_onnx, target)
    counts = inspection.op_counts(target)
    # The last layer has one query a text: its attention is of the kind that takes queries alone.
    assert (counts["Attention"], counts["MultiHeadAttention"]) == (1, 1)
    assert counts["SkipLayerNormalization"] == counts["BiasGelu"] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["best.onnx"]


@pytest.fixture(scope="module")
def variants(tiny_onnx, tmp_path_factory):
    return fusion_variants.build(tiny_onnx, tmp_path_factory.mktemp("ablation"))


@pytest.mark.parametrize("name", fusion_variants.SEARCHED)
def test_each_variant_of_the_search_computes_the_same(variants, tiny_onnx, name):
    nearly = 1e-2 if "approximate" in name else 1e-5
    parity = export.parity(tiny_onnx, variants[name], shapes=((1, 24), (3, 9)))
    assert parity.within(nearly)


def test_each_variant_has_the_fusions_of_its_name_and_no_others(variants):
    def counts(name: str) -> dict[str, int]:
        found = inspection.op_counts(variants[name])
        return {op: found[op] for op in FUSED if found[op]}

    nothing = {"LayerNormalization": 5}
    assert counts("none") == nothing
    assert counts("LayerNormalization taken apart") == {}
    assert counts("only Gelu") == nothing | {"Gelu": 2}
    assert counts("only BiasGelu") == nothing | {"BiasGelu": 2}
    assert counts("only MultiHeadAttention") == nothing | {"MultiHeadAttention": 2}
    assert counts("only Attention") == nothing | {"Attention": 2}
    assert counts("only EmbedLayerNormalization") == {
        "EmbedLayerNormalization": 1,
        "LayerNormalization": 4,
    }
    assert counts("all") == {
        "Attention": 2,
        "BiasGelu": 2,
        "SkipLayerNormalization": 4,
        "EmbedLayerNormalization": 1,
    }
    # Three projections a layer are one product: what is left are it, the output and two more.
    assert inspection.op_counts(variants["only packed QKV"])["MatMul"] == 2 * 4


@pytest.mark.parametrize(
    "name", ["none", "only EmbedLayerNormalization", "all", "packed QKV and Gelu"]
)
def test_a_variant_runs_as_written_when_fusions_at_load_are_disabled(variants, tmp_path, name):
    options = SessionRecipe().options()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    ort.InferenceSession(str(variants[name]), options, disabled_optimizers=list(fusion.AT_LOAD))
    written, loaded = map(inspection.op_counts, (variants[name], tmp_path / "loaded.onnx"))
    assert {op: loaded[op] for op in FUSED} == {op: written[op] for op in FUSED}


def test_a_fused_file_names_no_folder_of_its_exporter(tiny_onnx, tiny_fused):
    assert b"stack_trace" in tiny_onnx.read_bytes()
    assert b"stack_trace" not in tiny_fused.read_bytes()


def test_a_graph_without_three_tables_keeps_its_embeddings(tiny_fused):
    model = ir.load(str(tiny_fused))
    assert fusion_variants.fuse_embeddings(model) == 1
    assert fusion_variants.fuse_embeddings(model) == 0


def test_the_recipe_of_the_step_keeps_onnxruntime_from_fusing_again(tiny_onnx, tmp_path):
    fusion.fuse_what_pays(tiny_onnx, tmp_path / "best.onnx")
    quantization.dynamic(tmp_path / "best.onnx", tmp_path / "int8.onnx")

    def loaded(name: str, recipe: SessionRecipe) -> Counter:
        options = recipe.options()
        options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
        disabled = list(recipe.disabled_optimizers)
        ort.InferenceSession(str(tmp_path / name), options, disabled_optimizers=disabled)
        return inspection.op_counts(tmp_path / "loaded.onnx")

    ours = pipeline.recipe("fused").session
    assert loaded("best.onnx", SessionRecipe())["BiasGelu"] == 2
    assert loaded("best.onnx", ours)["BiasGelu"] == 0
    assert loaded("int8.onnx", SessionRecipe())["SkipLayerNormalization"] == 4
    assert loaded("int8.onnx", ours)["SkipLayerNormalization"] == 0
