import numpy as np
import pytest

from benchmarks import roofs
from tutorial_utils.bench import roofline
from tutorial_utils.bench.roofline import Roofs, Work
from tutorial_utils.graph import inspection
from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime.session import EXACT, SessionRecipe, made_here


def by_hand(layers, hidden, inner, batch, length):
    """Operations of an encoder: four square products, two wide ones, scores and their sum.

    They are those of a file whose last layer is narrow.
    """
    tokens = batch * length
    products = 2 * tokens * (4 * hidden * hidden + 2 * hidden * inner)
    whole = layers * (products + 4 * batch * length**2 * hidden)
    # Of the last layer only the first token is computed; the others give keys and values.
    return whole - 2 * batch * (length - 1) * (2 * hidden * hidden + 2 * hidden * inner)


@pytest.mark.built
@pytest.mark.parametrize(("batch", "length"), [(1, 24), (1, 128), (8, 128)])
def test_the_work_of_bert_base_is_that_of_its_formula(batch, length):
    expected = by_hand(12, 768, 3072, batch, length)
    for step in ("fused", "int8"):
        work = roofline.work(pipeline.ensure(step, "bert-base"), batch, length)
        assert work.operations == pytest.approx(expected, rel=0.02)


@pytest.mark.built
def test_eight_bits_read_a_quarter_of_the_bytes():
    fused, int8 = (roofline.work(pipeline.ensure(s, "bert-base"), 1, 8) for s in ("fused", "int8"))
    assert fused.bytes / int8.bytes == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("kind", ["fp32", "bf16", "u8×s8"])
def test_a_product_computes_what_it_says(kind):
    product = roofs.PRODUCTS[kind](kind, 5, 16, 7)
    assert product.operations == 2 * 5 * 16 * 7
    out = product.build()()
    out = out[0] if isinstance(out, list) else out.float().numpy()
    assert out.shape == (5, 7)
    if kind == "u8×s8":
        right = np.random.default_rng(0).integers(-64, 64, (16, 7))
        left = np.random.default_rng(1).integers(0, 200, (5, 16))
        assert (out == left @ right).all()


def test_the_roof_of_8_bit_products_is_that_of_the_kernels_our_files_run_with(monkeypatch):
    """Slower kernels once made a roof that the model itself was above."""
    monkeypatch.setattr("tutorial_utils.core.machine.saturates", lambda: True)
    options = roofline.Gemm("u8×s8", 5, 16, 7).session().get_session_options()
    files = made_here(SessionRecipe()).options()
    assert options.get_session_config_entry(EXACT) == files.get_session_config_entry(EXACT) == "0"


def test_the_lower_roof_is_the_limit():
    here = Roofs({"fp32": 0.5}, bytes=10.0, failed={})
    assert roofs.attainable(here, "fp32", Work(1e9, 1e9)) == pytest.approx(0.01)
    assert roofs.attainable(here, "fp32", Work(1e12, 1e9)) == 0.5
    assert roofline.share(1e9, milliseconds=4.0, roof=0.5) == pytest.approx(0.5)


def test_the_profile_names_the_operators_that_run_and_leaves_no_file(tiny_fused, tmp_path):
    spent = roofline.profile(tiny_fused, SessionRecipe(), 2, 16, tmp_path, runs=4)
    assert {"Attention", "MatMul"} <= set(spent)
    # While it loads the file, ONNX Runtime joins a product and what follows it (FusedGemm, …).
    assert {op.removeprefix("Fused") for op in spent} <= set(inspection.op_counts(tiny_fused))
    assert list(spent.values()) == sorted(spent.values(), reverse=True)
    assert list(tmp_path.iterdir()) == []
