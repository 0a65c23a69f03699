"""Models over protobuf's limit of 2 GB, with the limit lowered: weights beside the file."""

import json

import numpy as np
import onnx
import pytest
import service
from test_optimize import command, fixed_times, texts

from tutorial_utils import cli, registry
from tutorial_utils.core import paths
from tutorial_utils.graph import export, fusion, half_precision, inspection, quantization, storage
from tutorial_utils.models import classifiers
from tutorial_utils.registry import BadModel, ModelForm, read_manifest, triton
from tutorial_utils.runtime import batching, inference
from tutorial_utils.serving.settings import Settings


@pytest.fixture
def lowered(monkeypatch):
    monkeypatch.setattr(storage, "LARGEST", 10_000)


def steps(exported, folder):
    """Each kind of file that is made from an exported one."""
    made = {name: folder / f"{name}.onnx" for name in ("fused", "apart", "paying", "int8", "fp16")}
    fusion.fuse(exported, made["fused"])
    fusion.unfuse(made["fused"], made["apart"])
    fusion.fuse_what_pays(exported, made["paying"])
    quantization.recommended(made["paying"], made["int8"], [inference.random_inputs(2, 12)])
    half_precision.to_fp16(made["fused"], made["fp16"])
    return made


def test_each_step_writes_its_weights_beside_the_file_and_computes_the_same(
    tiny_model, tmp_path, monkeypatch
):
    small = steps(
        export.export(tiny_model, tmp_path / "small" / "exported.onnx"), tmp_path / "small"
    )
    monkeypatch.setattr(storage, "LARGEST", 10_000)
    exported = export.export(tiny_model, tmp_path / "large" / "exported.onnx")
    large = steps(exported, tmp_path / "large")
    assert export.parity(tiny_model, exported).within(1e-5)
    inputs = inference.random_inputs(2, 16)
    for name, file in large.items():
        weights = paths.weights_of(file)
        assert weights.stat().st_mode == file.stat().st_mode, name  # others may serve it
        assert weights.stat().st_size > 0.9 * 1e6 * inspection.weight_megabytes(file), name
        named = {e.value for t in inspection.load_structure(file).graph.initializer
                 for e in t.external_data if e.key == "location"}  # fmt: skip
        assert named == {weights.name}
        one, other = (inference.onnx_predict(f)(inputs) for f in (small[name], file))
        assert np.array_equal(one, other), name
        assert not paths.weights_of(small[name]).exists()
    beside = {paths.weights_of(file).name for file in (exported, *large.values())}
    assert {p.name for p in exported.parent.iterdir()} == beside | {
        "exported.onnx", *(file.name for file in large.values())
    }  # fmt: skip


def test_a_file_that_becomes_small_leaves_no_weights_behind(tiny_onnx, tmp_path, monkeypatch):
    target = tmp_path / "fused.onnx"
    monkeypatch.setattr(storage, "LARGEST", 10_000)
    fusion.fuse(tiny_onnx, target)
    assert paths.weights_of(target).exists()
    monkeypatch.undo()
    fusion.unfuse(target, target)
    assert [p.name for p in tmp_path.iterdir()] == ["fused.onnx"]
    assert export.parity(tiny_onnx, target).within(1e-5)


def test_a_failed_edit_leaves_the_file_and_its_weights(tiny_onnx, tmp_path, lowered):
    target = tmp_path / "fused.onnx"
    fusion.fuse(tiny_onnx, target)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail():
        with storage.replacing(target) as temporary:
            paths.weights_of(temporary).write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_a_large_model_from_its_folder_to_a_served_answer(tmp_path, monkeypatch, lowered, capsys):
    fixed_times(monkeypatch)
    assert cli.main(command(tmp_path, "--min-agreement", "0.9")) == 0
    store = tmp_path / "out" / "registry"
    version = store / "model" / "1"
    manifest = read_manifest(version)
    (weights,) = (name for name in manifest.files if name.endswith(".onnx.data"))
    assert manifest.forms[0].precision == "int8"
    onnx.checker.check_model(str(version / "model.onnx"), full_check=False)
    assert (version / weights).stat().st_size > (version / "model.onnx").stat().st_size / 4

    sent = texts(5, seed=7)
    with service.running(Settings(registry=store, model="model")) as client:
        body = client.post("/predict", json={"texts": sent}).json()
    answered = [max(p["probabilities"], key=p["probabilities"].get) for p in body["predictions"]]
    classifier = classifiers.open_classifier(tmp_path / "model")
    inputs = batching.pad(classifier.encode(sent), padding=classifier.padding)
    (promoted,) = (tmp_path / "out" / "work").rglob(weights.removesuffix(".data"))
    logits = inference.onnx_predict(promoted, manifest.forms[0].recipe.session)(inputs)
    assert answered == [manifest.labels[i] for i in logits.argmax(axis=1)]

    assert cli.main(command(tmp_path, "--min-agreement", "0.9")) == 0
    assert "has these files and this recipe already" in (tmp_path / "out/report.md").read_text()

    target = triton.write(store, "model", tmp_path / "triton")
    there = inference.onnx_predict(target / "model.onnx")
    model = registry.load(store, "model")
    assert np.allclose(there(inputs), model.logits(inputs), atol=1e-5)

    content = bytearray((version / weights).read_bytes())
    content[-1] ^= 1
    (version / weights).write_bytes(content)
    with pytest.raises(BadModel, match=rf"{weights} is not the file that was promoted"):
        registry.load(store, "model")
    (version / weights).unlink()
    with pytest.raises(BadModel, match=rf"{weights} is missing"):
        registry.load(store, "model")


def test_two_forms_must_not_keep_their_weights_under_one_name(tiny_onnx, tmp_path, lowered):
    forms = []
    for folder in ("a", "b"):
        target = tmp_path / folder / "fused.onnx"
        fusion.fuse(tiny_onnx, target)
        forms.append(ModelForm(target))
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps({}))
    with pytest.raises(BadModel, match=r"files named fused.onnx.data"):
        registry.write_version(tmp_path, "model", forms, tokenizer, ["no", "yes"])
    assert not list((tmp_path / "model").glob("*"))
