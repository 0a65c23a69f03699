"""Versions that must not be served: each fault is refused, with its fix, before the first call."""

import contextlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny_models import classifier

from tutorial_utils import cli, registry
from tutorial_utils.core.hashing import sha256
from tutorial_utils.registry import BadModel, external_data
from tutorial_utils.serving.settings import Settings


def point_outside(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """Let ``weights`` lie at ``location``."""
    (weights,) = (t for t in model.graph.initializer if t.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        weights.external_data.add(key=key, value=value)
    return model


@pytest.fixture
def publish(tmp_path):
    """Writes a model, with further files beside it, into a registry; returns that."""

    def write(model: onnx.ModelProto | bytes, beside: dict[str, bytes] | None = None) -> Path:
        folder = tiny_models.add(tmp_path / "registry", model)
        for name, content in (beside or {}).items():
            (folder / name).write_bytes(content)
        return tmp_path / "registry"

    return write


def edit(registry_path: Path, **changes) -> None:
    path = registry_path / "sentiment" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_sound_version_is_opened_and_has_run_once(publish):
    model = registry.load(publish(classifier()), "sentiment")
    assert model.manifest.version == "1"
    assert model.logits({"input_ids": np.ones((3, 2), np.int64)}).shape == (3, 2)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (b"", "cannot be read"),
        (b"no model at all", "cannot be read"),
        (classifier().SerializeToString()[:-9], "cannot be read"),
        (classifier(inputs=("pixels",)), "pixels"),
        (classifier(output="scores"), "scores"),
        (classifier(weights=(1, 1, 1)), r"\(2, 3\)"),
        (classifier(weights=(np.nan, 1)), "finite"),
        (point_outside(classifier(), "../../secret"), "outside its folder"),
        (point_outside(classifier(), "/etc/passwd"), "outside its folder"),
        (point_outside(classifier(), "weights.bin"), "does not list"),
    ],
    ids=[
        "empty", "not ONNX", "truncated", "wrong inputs", "wrong outputs", "labels", "NaN", "above",
        "absolute", "unverified",
    ],
)  # fmt: skip
def test_a_bad_model_is_refused_with_the_fix(publish, model, says):
    registry_path = publish(model, {"weights.bin": struct.pack("<2f", 1, 2)})
    (registry_path / "secret").write_bytes(struct.pack("<2f", 1, 2))
    with pytest.raises(BadModel, match=says) as refusal:
        registry.load(registry_path, "sentiment")
    assert "publish" in str(refusal.value)
    assert str(registry_path) not in str(refusal.value)


def test_weights_beside_the_model_are_taken_when_the_manifest_verifies_them(publish):
    model, weights = point_outside(classifier(), "weights.bin"), struct.pack("<2f", 3, 4)
    registry_path = publish(model, {"weights.bin": weights})
    folder = registry_path / "sentiment" / "1"
    listed = {p.name: sha256(p) for p in folder.iterdir() if p.name != "manifest.json"}
    edit(registry_path, files=listed)
    loaded = registry.load(registry_path, "sentiment")
    assert loaded.logits({"input_ids": np.ones((1, 2), np.int64)}).tolist() == [[3, 4]]
    (folder / "weights.bin").write_bytes(weights[::-1])
    with pytest.raises(BadModel, match="not the file that was promoted"):
        registry.load(registry_path, "sentiment")


@pytest.mark.parametrize("change", [{"version": "2"}, {"name": "topic"}])
def test_a_manifest_that_names_another_model_is_refused(publish, change):
    registry_path = publish(classifier())
    edit(registry_path, **change)
    with pytest.raises(BadModel, match="wrong model"):
        registry.load(registry_path, "sentiment")


def test_only_numbers_are_versions(publish):
    registry_path = publish(classifier())
    for name in (".2-incomplete", "٣", "1e3", "-1", "latest", "0" * 10):
        (registry_path / "sentiment" / name).mkdir()
    assert registry.versions(registry_path, "sentiment") == ["1"]


@pytest.mark.parametrize("name", ["../1", "..", "", "1/../2", "1\n", "٣", "9" * 10, "Latest"])
def test_no_path_passes_for_a_version_nor_for_a_model(name):
    with pytest.raises(ValueError, match="version"):
        Settings(registry=".", version=name)
    if not name.isalnum():
        with pytest.raises(ValueError, match="model"):
            Settings(registry=".", model=name)


def test_the_walk_finds_what_the_onnx_package_finds(tmp_path):
    inner = point_outside(classifier(), "in a branch").graph
    model = point_outside(classifier(), "weights.bin")
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(2)))
    tensor = constant.attribute[0].t
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="in an attribute")
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    model.graph.node.extend([constant, branch])
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert external_data.locations(path) == {"weights.bin", "in an attribute", "in a branch"}


def edges() -> list[tuple[str, ...]]:
    """Every way from a model to a tensor, as field names; each field of onnx is on one of them."""
    tensor = onnx.TensorProto.DESCRIPTOR
    shortest = {tensor.full_name: ()}  # message → the fields from it to a tensor
    messages, waiting = {}, [onnx.ModelProto.DESCRIPTOR]
    to = {onnx.ModelProto.DESCRIPTOR.full_name: ()}  # message → the fields from a model to it
    while waiting:
        message = waiting.pop(0)
        messages[message.full_name] = message
        for field in message.fields:
            inner = field.message_type
            if inner and inner.full_name not in to:
                to[inner.full_name] = (*to[message.full_name], field.name)
                waiting.append(inner)
    for _ in messages:
        for name, message in messages.items():
            for field in message.fields:
                inner = field.message_type and field.message_type.full_name
                if inner in shortest and name not in shortest:
                    shortest[name] = (field.name, *shortest[inner])
    ways = [
        (*to[name], field.name, *shortest[field.message_type.full_name])
        for name, message in messages.items()
        if name != tensor.full_name
        for field in message.fields
        if field.message_type and field.message_type.full_name in shortest
    ]
    return list(dict.fromkeys(ways))


def test_the_ways_to_a_tensor_are_those_that_onnx_has():
    assert len(edges()) >= 13
    assert ("graph", "initializer") in edges()
    assert ("functions", "attribute_proto", "t") in edges()


@pytest.mark.parametrize("way", edges(), ids=".".join)
def test_weights_outside_the_file_are_found_wherever_onnx_lets_them_be(way, tmp_path):
    """The ways come from onnx's own descriptors: a newer onnx that adds one fails here."""
    model = message = onnx.ModelProto()
    for name in way:
        field = getattr(message, name)
        message = field.add() if hasattr(field, "add") else field
    message.data_location = TensorProto.EXTERNAL
    message.external_data.add(key="location", value=".".join(way))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert external_data.locations(path) == {".".join(way)}


@given(st.binary(max_size=200))
def test_the_walk_ends_on_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        assert isinstance(external_data.locations(path), set)


def test_the_registry_needs_neither_torch_nor_transformers_nor_onnx_nor_the_downloads(tmp_path):
    tiny_models.add(tmp_path, classifier())
    code = (
        "import sys\n"
        "unwanted = ('torch', 'transformers', 'onnx', 'tutorial_utils.data.assets')\n"
        "sys.modules.update(dict.fromkeys(unwanted))  # importing one of them raises\n"
        "from pathlib import Path\n"
        "from tutorial_utils import registry\n"
        "from tutorial_utils.registry import triton\n"
        "root = Path(sys.argv[1])\n"
        "model = registry.load(root, 'sentiment')\n"
        "folder = root / 'sentiment' / '1'\n"
        "forms = [registry.ModelForm(folder / 'model.onnx', model.recipe)]\n"
        "tokenizer = folder / 'tokenizer.json'\n"
        "registry.write_version(root, 'sentiment', forms, tokenizer, model.manifest.labels)\n"
        "print(triton.write(root, 'sentiment', root / 'models').name)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.stdout.strip() == "2", done.stderr


def test_versions_are_withdrawn_and_restored_by_hand(tmp_path, capsys):
    for _ in range(2):
        tiny_models.add(tmp_path, tiny_models.classifier())
    words = ["withdraw", "--registry", str(tmp_path)]
    assert cli.main([*words, "--version", "2", "--reason", "worse"]) == 0
    assert capsys.readouterr().out == "sentiment: in use 1; `latest` is 1\n"
    assert registry.withdrawn(tmp_path, "sentiment") == {"2": "worse"}
    assert registry.load(tmp_path, "sentiment").manifest.version == "1"
    assert cli.main([*words, "--version", "2", "--undo"]) == 0
    assert registry.load(tmp_path, "sentiment").manifest.version == "2"
    for unknown in ("3", "../2", ""):
        assert cli.main([*words, "--version", unknown]) == 2
        assert "has no version" in capsys.readouterr().err
    assert registry.versions(tmp_path, "sentiment") == ["1", "2"]
