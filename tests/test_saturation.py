"""Products of 8-bit numbers on processors that add two of them in 16 bits (x86 without VNNI)."""

import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cpuinfo
import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import tiny_models
from onnx import numpy_helper

from tutorial_utils import registry
from tutorial_utils.core import machine
from tutorial_utils.graph import quantization
from tutorial_utils.lessons import pipeline
from tutorial_utils.registry import ModelForm
from tutorial_utils.runtime import inference
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import EXACT, SessionRecipe, made_here

EXACT_ONES = ("avx512_vnni", "avx_vnni", "amx_int8")


def pretend(monkeypatch, *features: str, processor: str = "x86_64") -> None:
    monkeypatch.setattr(machine, "features", lambda: features)
    monkeypatch.setattr(platform, "machine", lambda: processor)


def matrices(path: Path) -> dict[str, np.ndarray]:
    """The int8 weights of products: all but the embedding tables."""
    tensors = onnx.load(str(path)).graph.initializer
    arrays = {t.name: numpy_helper.to_array(t) for t in tensors if len(t.dims) == 2}
    return {n: a for n, a in arrays.items() if a.dtype == np.int8 and not n.endswith("_levels")}


def vpmaddubsw(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """u8 (n, 2) and s8 (n, 2) → the sums of two products as AVX2 gives them, int16 (n,)."""
    exact = (activations.astype(np.int32) * weights.astype(np.int32)).sum(1)
    return np.clip(exact, -32_768, 32_767).astype(np.int16)


def test_two_products_of_7_bit_weights_fit_into_16_bits_and_those_of_8_bits_do_not():
    worst = np.full((1, 2), 255, np.uint8)
    for weight, fits in ((64, True), (-64, True), (65, False), (127, False), (-127, False)):
        weights = np.full((1, 2), weight, np.int8)
        assert (vpmaddubsw(worst, weights) == 2 * 255 * weight).all() == fits, weight


@pytest.mark.parametrize(
    ("features", "processor", "saturates"),
    [
        ((), "x86_64", True),
        (("avx2",), "AMD64", True),
        (("avx2", "avx512_bf16"), "x86_64", True),
        *((("avx2", feature), "x86_64", False) for feature in EXACT_ONES),
        ((), "arm64", False),
        (("asimddp",), "aarch64", False),
    ],
)
def test_which_processors_saturate(features, processor, saturates, monkeypatch):
    pretend(monkeypatch, *features, processor=processor)
    assert machine.saturates() == saturates


@pytest.mark.parametrize("feature", EXACT_ONES)
def test_where_products_are_exact_weights_have_8_bits_as_before(
    feature, tiny_fused, tmp_path, monkeypatch
):
    before = quantization.dynamic(tiny_fused, tmp_path / "a.onnx", reduce_range=False)
    pretend(monkeypatch, "avx2", feature)
    target = quantization.dynamic(tiny_fused, tmp_path / "b.onnx")
    assert target.read_bytes() == before.read_bytes()
    assert max(np.abs(a.astype(int)).max() for a in matrices(target).values()) == 127
    assert pipeline.recipe("int8").session.config == {}


def test_where_products_saturate_weights_have_7_bits(tiny_fused, tmp_path, monkeypatch):
    pretend(monkeypatch, "avx2")
    batches = [inference.random_inputs(2, 12)]
    target = quantization.recommended(tiny_fused, tmp_path / "b.onnx", batches)
    assert len(matrices(target)) >= 6
    for name, weights in matrices(target).items():
        assert np.abs(weights.astype(int)).max() <= 64, name
    inputs = inference.random_inputs(4, 20)
    exact = inference.onnx_predict(tiny_fused)(inputs)
    session = pipeline.recipe("int8").session
    assert session == made_here(replace(session, config={}))
    assert np.abs(exact - inference.onnx_predict(target, session)(inputs)).max() < 0.05
    assert not session.slowed


def test_artifacts_from_another_kind_of_processor_are_built_again(tmp_path, monkeypatch):
    stamps = []
    for feature in ("avx2", "avx512_vnni"):
        pretend(monkeypatch, feature)
        stamps.append(pipeline._stamp("int8", tmp_path / "fused.onnx", "bert-base"))
    assert stamps[0] == stamps[1] | {"reduce_range": True}


def entry(recipe: SessionRecipe) -> str | None:
    """The setting that a session of this recipe is opened with."""
    try:
        return recipe.options().get_session_config_entry(EXACT)
    except RuntimeError:  # it is not set
        return None


def test_sessions_have_exact_products_where_fast_ones_saturate_and_only_there(monkeypatch):
    """With VNNI, the setting would give up its fast and exact products for slow ones."""
    fast = SessionRecipe(config={EXACT: "0"})
    pretend(monkeypatch, "avx2")
    assert (entry(SessionRecipe()), entry(fast)) == ("1", "0")
    pretend(monkeypatch, "avx2", "avx512_vnni")
    assert (entry(SessionRecipe()), entry(fast)) == (None, "0")


def test_the_features_of_this_processor_are_those_that_the_library_finds():
    flags = cpuinfo.get_cpu_info()["flags"]
    assert machine.features() == tuple(name for name in machine.FEATURES if name in flags)


@pytest.mark.parametrize(
    ("features", "precision", "config", "warned"),
    [
        ("avx2", "int8", {}, True),
        ("avx2", "int8", {EXACT: "0"}, False),
        ("avx2", "fp32", {}, False),
        ("avx512_vnni", "int8", {}, False),
    ],
)
def test_a_version_with_8_bit_weights_is_served_exactly_and_the_log_says_that_it_is_slow(
    features, precision, config, warned, tmp_path, monkeypatch, caplog
):
    folder = tiny_models.add(tmp_path, tiny_models.classifier())
    form = ModelForm(folder / "model.onnx", Recipe(session=SessionRecipe(config=config)), precision)
    registry.write_version(
        tmp_path, "sentiment", [form], folder / "tokenizer.json", tiny_models.LABELS
    )
    pretend(monkeypatch, features)
    model = registry.load(tmp_path, "sentiment")
    assert ("7-bit" in caplog.text) == warned
    expected = config.get(EXACT) if features == "avx512_vnni" else config.get(EXACT, "1")
    assert entry(model.recipe.session) == expected


SHARED = """<ir_version: 10, opset_import: ["" : 18]>
shared (int64[b, s] input_ids) => (float[b, 2] logits)
<int64[1] axis = {1}, int8[1, 2] weights = {127, -127}, int8[2] zero = {0, 0}>
{
    floats = Cast<to = 1>(input_ids)
    mean = ReduceMean(floats, axis)
    levels, scale, middle = DynamicQuantizeLinear(mean)
    first = MatMulInteger(levels, weights, middle, zero)
    more, another, between = DynamicQuantizeLinear(floats)
    other = ReduceMax(more, axis)
    second = MatMulInteger(other, weights, between, zero)
    sum = Add(first, second)
    logits = Cast<to = 1>(sum)
}"""


def test_8_bit_weights_that_cannot_be_computed_exactly_are_refused(tmp_path, monkeypatch):
    """ONNX Runtime fails on exact products of weights that two operators share."""
    folder = tiny_models.add(tmp_path, onnx.parser.parse_model(SHARED))
    form = ModelForm(folder / "model.onnx", Recipe(), "int8")
    registry.write_version(
        tmp_path, "sentiment", [form], folder / "tokenizer.json", tiny_models.LABELS
    )
    pretend(monkeypatch, "avx2", "avx512_vnni")
    registry.load(tmp_path, "sentiment")
    pretend(monkeypatch, "avx2")
    with pytest.raises(registry.BadModel, match="7-bit weights, or serve it on a processor with"):
        registry.load(tmp_path, "sentiment")


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-user")
def test_a_processor_without_vnni_gives_the_answers_of_this_one(tiny_fused, tmp_path):
    """Haswell, emulated: full range in our sessions, and 7 bits, are right. ORT alone is not."""
    full = quantization.dynamic(tiny_fused, tmp_path / "full.onnx", reduce_range=False)
    model = onnx.load(str(full))
    for tensor in model.graph.initializer:  # the largest weights: neighbours saturate at once
        if tensor.name in matrices(full):
            extreme = np.where(numpy_helper.to_array(tensor) < 0, -127, 127).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(extreme, tensor.name))
    onnx.save(model, full)
    seven = quantization.dynamic(tiny_fused, tmp_path / "seven.onnx", reduce_range=True)
    inputs = inference.random_inputs(2, 16)
    np.savez(tmp_path / "inputs.npz", **inputs)
    site = Path(onnxruntime.__file__).parents[1]
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
import numpy as np, onnxruntime as ort
for name, exact in (("full", "1"), ("full", "0"), ("seven", "0")):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry({EXACT!r}, exact)
    session = ort.InferenceSession(f"{tmp_path}/{{name}}.onnx", options)
    logits = session.run(None, dict(np.load("{tmp_path}/inputs.npz")))[0]
    np.save(f"{tmp_path}/{{name}}{{exact}}.npy", logits)
"""
    emulated = ["qemu-x86_64", "-cpu", "Haswell", str(Path(sys.executable).resolve()), "-c", code]
    done = subprocess.run(emulated, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = {
        name: inference.onnx_predict(path)(inputs)
        for name, path in (("full", full), ("seven", seven))
    }
    for name, exact, right in (("full", 1, True), ("full", 0, False), ("seven", 0, True)):
        there = np.load(tmp_path / f"{name}{exact}.npy")
        assert np.allclose(there, here[name], atol=1e-5) == right, (name, exact)
