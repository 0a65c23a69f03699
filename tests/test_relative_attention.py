"""Attention with relative and rotary positions: what fuses, what stays, and what does not fit."""

import onnx
import pytest
import transformers
from tiny_checkpoints import save

from tutorial_utils.graph import export, fusion, inspection, quantization, static
from tutorial_utils.models.classifiers import open_classifier
from tutorial_utils.runtime.inference import random_inputs

SHAPES = ((1, 2), (1, 40), (3, 17), (4, 64))  # rows but the first are padded
LAYERS = 2
GONE = {  # operators of which the fused graph has none
    "deberta-v2": {"GatherElements", "Tile"},
    "modernbert": {"Softmax", "Neg"},
}
SETTINGS = {
    "deberta-v2": ("deberta-v2", {}),
    "only from content": ("deberta-v2", {"pos_att_type": ["c2p"]}),
    "only to content": ("deberta-v2", {"pos_att_type": ["p2c"]}),
    "own projections": ("deberta-v2", {"share_att_key": False}),
    "no buckets": ("deberta-v2", {"position_buckets": -1, "max_relative_positions": 24}),
    "normalized": ("deberta-v2", {"norm_rel_ebd": "layer_norm"}),
    "modernbert": ("modernbert", {}),
}


def exported(folder, family, **settings):
    """A tiny classifier with the vocabulary that ``export.parity`` draws from, and its file."""
    save(folder, family, vocab_size=30_000, **settings)
    classifier = open_classifier(folder)
    module = classifier.module()
    return module, export.export(module, folder / "exported.onnx", inputs=classifier.example())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    made = {}

    def get(family):
        if family not in made:
            made[family] = exported(tmp_path_factory.mktemp(family), family)[1]
        return made[family]

    return get


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in GONE else pytest.mark.slow) for name in SETTINGS],
)
def test_each_term_is_rewritten_and_the_function_stays(name, tmp_path):
    family, settings = SETTINGS[name]
    module, file = exported(tmp_path, family, **settings)
    counts = fusion.fuse(file, tmp_path / "fused.onnx")
    found = inspection.op_counts(tmp_path / "fused.onnx")
    assert found["MultiHeadAttention"] == (LAYERS if family == "modernbert" else 0)
    assert {op: found[op] for op in GONE[family]} == dict.fromkeys(GONE[family], 0)
    terms = 0 if family == "modernbert" else LAYERS * len(settings.get("pos_att_type", "12"))
    assert counts["relative_attention"] == terms
    assert found["RotaryEmbedding"] == (2 * LAYERS if family == "modernbert" else 0)
    assert export.parity(module, tmp_path / "fused.onnx", SHAPES).within(1e-4)


@pytest.mark.parametrize("family", GONE)
def test_hidden_states_stay_the_same_at_padding_too(family, tmp_path):
    save(tmp_path, family, vocab_size=30_000)
    encoder = transformers.AutoModel.from_pretrained(tmp_path).eval()
    inputs = {
        name: value
        for name, value in export.example_inputs().items()
        if name in ("input_ids", "attention_mask")
    }
    file = export.export(encoder, tmp_path / "exported.onnx", inputs=inputs, output="hidden")
    fusion.fuse(file, tmp_path / "fused.onnx")
    found = inspection.op_counts(tmp_path / "fused.onnx")
    assert {op: found[op] for op in GONE[family]} == dict.fromkeys(GONE[family], 0)
    assert export.parity(file, tmp_path / "fused.onnx", SHAPES).within(1e-4)


def changed(source, target, old, new):
    """The file with every node ``old`` made a ``new`` one."""
    model = onnx.load(source)
    for node in model.graph.node:
        if node.op_type == old:
            node.op_type = new
    onnx.save(model, target)


SIMILAR = {  # what is changed in an exported file, and how many of which nodes must then be there
    "no distances": (
        "deberta-v2",
        lambda source, target: changed(source, target, "Sub", "Add"),
        {"GatherElements": 2 * LAYERS},
    ),
    "other angles": (
        "modernbert",
        lambda source, target: changed(source, target, "Sin", "Tan"),
        {"RotaryEmbedding": 0},
    ),
}


@pytest.mark.parametrize("name", SIMILAR)
def test_a_graph_that_only_looks_similar_is_left_alone(name, files, tmp_path):
    family, change, expected = SIMILAR[name]
    change(files(family), tmp_path / "similar.onnx")
    fusion.fuse(tmp_path / "similar.onnx", tmp_path / "fused.onnx")
    found = inspection.op_counts(tmp_path / "fused.onnx")
    assert {op: found[op] for op in expected} == expected
    parity = export.parity(tmp_path / "similar.onnx", tmp_path / "fused.onnx", SHAPES[1:3])
    assert parity.within(1e-4)


@pytest.mark.parametrize("family", GONE)
def test_the_recipe_for_8_bits_works_on_fused_files(family, files, tmp_path):
    fused, target = tmp_path / "fused.onnx", tmp_path / "int8.onnx"
    fusion.fuse_what_pays(files(family), fused)
    quantization.recommended(fused, target, [random_inputs(2, 24, seed) for seed in range(2)])
    before, after = inspection.op_counts(fused), inspection.op_counts(target)
    assert after["MultiHeadAttention"] == before["MultiHeadAttention"]
    without_weights = len(static.attention_products(fused))
    assert after["MatMulInteger"] >= before["MatMul"] - without_weights > 0
    assert inspection.megabytes(target) < 0.4 * inspection.megabytes(fused)
    assert 0 < export.parity(fused, target, SHAPES[1:3]).maximum < 0.5
