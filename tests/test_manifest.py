"""``manifest.json``: its formats, and which form of a model runs on a machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from tutorial_utils import registry
from tutorial_utils.core import machine
from tutorial_utils.core.hashing import sha256
from tutorial_utils.registry import BadModel, Manifest, ModelForm
from tutorial_utils.runtime import session
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe

CPU, CUDA = Recipe(), Recipe(session=SessionRecipe(provider="cuda"))
FORMAT_1 = """{
  "name": "sentiment",
  "version": "1",
  "labels": ["negative", "positive"],
  "recipe": {
    "steps": ["exported", "fused", "int8", "tuned"],
    "session": {
      "provider": "cpu", "provider_options": {}, "threads": 2, "spinning": true,
      "optimization": "all", "disabled_optimizers": ["BiasGeluFusion"], "arena": true,
      "memory_pattern": true, "huge_pages": false, "config": {}
    },
    "token_budget": 256,
    "max_length": 128,
    "padding": {"token": 1, "side": "left"},
    "task": "multi_label",
    "workers": 2
  },
  "files": {"model.onnx": "MODEL", "tokenizer.json": "TOKENIZER"},
  "figures": {"agreement": 0.99},
  "versions": {"onnxruntime": "1.31.0"},
  "created": "2026-01-02T03:04:05Z"
}"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A version's folder; its registry is ``tmp_path``."""
    return tiny_models.add(tmp_path, tiny_models.classifier())


def edit(folder: Path, **changes) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_what_is_written_is_what_is_read(tmp_path, folder):
    forms = (
        ModelForm(folder / "model.onnx", Recipe(workers=2), "int8", ("amx_int8",)),
        ModelForm(folder / "tokenizer.json", replace(CUDA, padding=Padding(side="left")), "fp16"),
    )  # fmt: skip
    written = registry.write_version(
        tmp_path, "size", forms, folder / "tokenizer.json", ["grams", "metres"], task="regression",
        label_spread=(120, 0.5), figures={"agreement": 0.98},
    )  # fmt: skip
    manifest = registry.read_manifest(written)
    files = Path("model.onnx"), Path("model-2.onnx")
    expected = tuple(replace(form, file=file) for form, file in zip(forms, files, strict=True))
    assert manifest.forms == expected
    assert [form.provider for form in manifest.forms] == [
        "CPUExecutionProvider", "CUDAExecutionProvider",
    ]  # fmt: skip
    assert (manifest.task, manifest.labels) == ("regression", ("grams", "metres"))
    assert (manifest.label_spread, manifest.figures) == ((120.0, 0.5), {"agreement": 0.98})
    assert manifest.files["model-2.onnx"] == sha256(folder / "tokenizer.json")
    assert json.loads((written / "manifest.json").read_text())["format"] == 2
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_folder_of_format_1_opens_as_it_did(tmp_path, folder):
    text = FORMAT_1.replace("MODEL", sha256(folder / "model.onnx"))
    text = text.replace("TOKENIZER", sha256(folder / "tokenizer.json"))
    (folder / "manifest.json").write_text(text)
    model = registry.load(tmp_path, "sentiment")
    assert model.recipe == Recipe(
        steps=("exported", "fused", "int8", "tuned"),
        session=SessionRecipe(threads=2, disabled_optimizers=("BiasGeluFusion",)),
        token_budget=256,
        max_length=128,
        padding=Padding(token=1, side="left"),
        workers=2,
    )
    assert model.manifest.forms == (ModelForm(Path("model.onnx"), model.recipe, "int8"),)
    assert (model.manifest.task, model.manifest.label_spread) == ("multi_label", None)
    assert model.manifest.figures == {"agreement": 0.99}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 3}, "update tutorial_utils"),
        ({"format": 3, "forms": None, "more": 1}, "update tutorial_utils"),
        ({"forms": []}, "needs a form"),
        ({"forms": [{"file": "model.onnx"}]}, "cannot be read"),
        ({"forms": ["model.onnx"]}, "cannot be read"),
        ({"task": "translation"}, "single_label"),
        ({"label_spread": [1.0]}, "label_spread"),
        ({"files": {}}, "no checksum of"),
        ({"files": ["model.onnx", "tokenizer.json"]}, "cannot be read"),
        ({"more": 1}, "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(folder, changes, says):
    edit(folder, **changes)
    with pytest.raises(BadModel, match=says):
        registry.read_manifest(folder)


def test_a_form_whose_file_has_no_checksum_is_refused(folder):
    values = json.loads((folder / "manifest.json").read_text())
    edit(folder, forms=[values["forms"][0] | {"file": "../1/model.onnx"}])
    with pytest.raises(BadModel, match="no checksum of"):
        registry.read_manifest(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"text"', "{}", '{"format": 2}'])
def test_what_is_no_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BadModel, match="cannot be read"):
        registry.read_manifest(folder)


GPU = ModelForm("gpu.onnx", CUDA, "fp16")
VNNI = ModelForm("vnni.onnx", CPU, "int8", ("avx2", "avx512_vnni"))
PLAIN = ModelForm("plain.onnx", CPU)


@pytest.mark.parametrize(
    ("forms", "providers", "features", "chosen"),
    [
        ((GPU, VNNI, PLAIN), {"cpu", "cuda"}, (), GPU),
        ((GPU, VNNI, PLAIN), {"cpu"}, ("avx2", "avx512_vnni", "amx_int8"), VNNI),
        ((GPU, VNNI, PLAIN), {"cpu"}, ("avx2",), PLAIN),
        ((PLAIN, VNNI), {"cpu"}, ("avx2", "avx512_vnni"), PLAIN),
        ((GPU, VNNI), {"cpu"}, ("avx2",), VNNI),
        ((VNNI,), {"cpu"}, (), VNNI),
        ((GPU,), {"cpu"}, (), GPU),
        ((GPU, replace(GPU, precision="fp32")), {"cpu"}, (), None),
    ],
)
def test_the_first_form_that_suits_the_machine_is_chosen(
    forms, providers, features, chosen, monkeypatch
):
    here = replace(machine.describe(), features=features)
    monkeypatch.setattr(machine, "describe", lambda: here)
    monkeypatch.setattr(session, "provider_problem", lambda p: None if p in providers else "no")
    manifest = Manifest("sentiment", "1", ("no", "yes"), forms, {})
    if chosen is None:
        with pytest.raises(BadModel, match=r"has no form that runs here .*CUDAExecutionProvider"):
            registry.choose(manifest)
    else:
        assert registry.choose(manifest) is chosen


def test_a_server_opens_the_form_that_runs_here(tmp_path, folder):
    """The first form asks for a provider that no ONNX Runtime has."""
    elsewhere = Recipe(session=SessionRecipe(provider="quantum"), token_budget=64)
    source, tokenizer = folder / "model.onnx", folder / "tokenizer.json"
    here = ModelForm(source, Recipe(max_length=4), "int8")
    forms = [ModelForm(tokenizer, elsewhere), here]
    registry.write_version(tmp_path, "sentiment", forms, tokenizer, tiny_models.LABELS)
    model = registry.load(tmp_path, "sentiment", "2")
    assert model.form == replace(here, file=Path("model-2.onnx"))
    assert len(model.encode(["warm " * 9])[0]) == 4
    assert (model.form.precision, model.form.provider) == ("int8", "CPUExecutionProvider")
