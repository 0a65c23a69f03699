"""Versions that must not be served: each fault is refused, with its fix, before the first call."""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_models
from onnx import TensorProto, helper, numpy_helper
from tiny_models import classifier

from tutorial_utils import cli, registry
from tutorial_utils.core.hashing import sha256
from tutorial_utils.registry import BadModel
from tutorial_utils.runtime.session import open_session
from tutorial_utils.serving.settings import Settings


def stored_at(tensor: TensorProto, location: str) -> TensorProto:
    """The same tensor, with its bytes in another file."""
    made = TensorProto(dims=tensor.dims, data_type=tensor.data_type, name=tensor.name)
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(tensor.raw_data)))):
        made.external_data.add(key=key, value=value)
    return made


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


def list_all_files(registry_path: Path) -> None:
    """Let the manifest list what its folder holds."""
    folder = registry_path / "sentiment" / "1"
    listed = {p.name: sha256(p) for p in folder.iterdir() if p.name != "manifest.json"}
    edit(registry_path, files=listed)


def logits(registry_path: Path) -> list:
    model = registry.load(registry_path, "sentiment")
    return model.logits({"input_ids": np.ones((1, 2), np.int64)}).tolist()


def test_a_sound_version_is_opened_and_has_run_once(publish):
    model = registry.load(publish(classifier()), "sentiment")
    assert model.manifest.version == "1"
    assert model.logits({"input_ids": np.ones((3, 2), np.int64)}).shape == (3, 2)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (b"", "cannot be opened"),
        (b"no model at all", "cannot be opened"),
        (classifier().SerializeToString()[:-9], "cannot be opened"),
        (classifier(inputs=("pixels",)), "pixels"),
        (classifier(output="scores"), "scores"),
        (classifier(weights=(1, 1, 1)), r"\(2, 3\)"),
        (classifier(weights=(np.nan, 1)), "finite"),
    ],
    ids=[
        "empty", "not ONNX", "truncated", "wrong inputs", "wrong outputs", "labels", "NaN",
    ],
)  # fmt: skip
def test_a_bad_model_is_refused_with_the_fix(publish, model, says):
    registry_path = publish(model)
    with pytest.raises(BadModel, match=says) as refusal:
        registry.load(registry_path, "sentiment")
    assert "publish" in str(refusal.value)
    assert str(registry_path) not in str(refusal.value)


def test_weights_beside_the_model_are_taken_when_the_manifest_verifies_them(publish):
    model = reading(("graph", "initializer"), stored_at(WEIGHTS, "weights.bin"))
    registry_path = publish(model, {"weights.bin": WEIGHTS.raw_data})
    with pytest.raises(BadModel, match=r"does not list weights\.bin"):
        registry.load(registry_path, "sentiment")
    list_all_files(registry_path)
    assert logits(registry_path) == [[3, 4]]
    (registry_path / "sentiment" / "1" / "weights.bin").write_bytes(WEIGHTS.raw_data[::-1])
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


def edges() -> list[tuple[str, ...]]:
    """Every way from a model to a tensor, as field names; each field of onnx is on one of them."""
    tensor = onnx.TensorProto.DESCRIPTOR
    shortest: dict[str, tuple[str, ...]] = {
        tensor.full_name: ()
    }  # message → the fields from it to a tensor
    messages, waiting = {}, [onnx.ModelProto.DESCRIPTOR]
    to: dict[str, tuple[str, ...]] = {
        onnx.ModelProto.DESCRIPTOR.full_name: ()
    }  # message → the fields from a model to it
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


WEIGHTS = numpy_helper.from_array(np.array([3, 4], np.float32), "weights")
INDICES = numpy_helper.from_array(np.array([0, 1], np.int64), "indices")
ONE_NUMBER = numpy_helper.from_array(np.array([3], np.float32), "number")
MORE_WAYS = [
    ("graph", "node", "attribute", "g", "initializer"),
    ("graph", "node", "attribute", "g", "node", "attribute", "t"),
    ("graph", "node", "attribute", "sparse_tensor", "values"),
    ("graph", "node", "attribute", "sparse_tensor", "indices"),
    ("functions", "node", "attribute", "g", "initializer"),
    ("the value of ConstantOfShape",),
    ("the keys of LabelEncoder",),
]
# ONNX Runtime knows no operator that takes lists of tensors or graphs, and it trains nothing.
UNREAD = {
    ("training_info", "initialization", "initializer"),
    ("training_info", "algorithm", "initializer"),
    ("functions", "attribute_proto", "tensors"),
    ("functions", "attribute_proto", "graphs", "initializer"),
    ("functions", "attribute_proto", "sparse_tensors", "values"),
}
# A function with a sparse default can crash ONNX Runtime 1.31.1, even if its weights are inline. So
# the control is left out; the refusal comes before the crash.
CRASHES = ("functions", "attribute_proto", "sparse_tensor", "values")


def sparse(values: TensorProto = WEIGHTS, indices: TensorProto = INDICES) -> onnx.SparseTensorProto:
    made = onnx.SparseTensorProto(values=values, indices=indices, dims=[2])
    made.values.name = "weights"
    return made


def branch(
    weights: TensorProto, tensors: Sequence[TensorProto] = (), nodes: Sequence[onnx.NodeProto] = ()
) -> onnx.GraphProto:
    """A graph without inputs that returns its ``weights``."""
    out = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [2])
    nodes = [*nodes, helper.make_node("Identity", [weights.name], ["chosen"])]
    return helper.make_graph(nodes, "branch", [], [out], tensors)


def choice(**branches: onnx.GraphProto) -> list[onnx.NodeProto]:
    true = numpy_helper.from_array(np.array(True))
    return [
        helper.make_node("Constant", [], ["true"], value=true),
        helper.make_node("If", ["true"], ["weights"], **branches),
    ]


def referring(node: onnx.NodeProto, kind: str, *names: str) -> onnx.NodeProto:
    """Let attributes of a function's node refer to the function's own attribute ``given``."""
    for name in names:
        node.attribute.add(
            name=name, ref_attr_name="given", type=onnx.AttributeProto.AttributeType.Value(kind)
        )
    return node


def reading(way: tuple[str, ...], tensor: TensorProto) -> onnx.ModelProto:
    """A valid classifier with ``tensor`` at the end of ``way``; its logits are WEIGHTS."""
    model = classifier()
    graph, weights = model.graph, "weights"
    (inline,) = (t for t in graph.initializer if t.name == weights)
    graph.initializer.remove(inline)
    constant = functools.partial(helper.make_node, "Constant", [], [weights])

    def before(*nodes: onnx.NodeProto) -> None:
        rest = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, *rest])

    def call(body: list[onnx.NodeProto], given: object = None) -> None:
        """Compute the weights in a function, ``given`` being the default of its attribute."""
        opsets = [helper.make_opsetid("", 18)]
        protos = [] if given is None else [helper.make_attribute("given", given)]
        model.functions.append(
            helper.make_function("own", "F", [], [weights], body, opsets, attribute_protos=protos)
        )
        model.opset_import.append(helper.make_opsetid("own", 1))
        before(helper.make_node("F", [], [weights], domain="own"))

    match ".".join(way):
        case "graph.initializer":
            graph.initializer.append(tensor)
        case "graph.sparse_initializer.values":
            graph.sparse_initializer.append(sparse(values=tensor))
        case "graph.sparse_initializer.indices":
            graph.sparse_initializer.append(sparse(indices=tensor))
        case "graph.node.attribute.t":
            before(constant(value=tensor))
        case "graph.node.attribute.sparse_tensor.values":
            before(constant(sparse_value=sparse(values=tensor)))
        case "graph.node.attribute.sparse_tensor.indices":
            before(constant(sparse_value=sparse(indices=tensor)))
        case "graph.node.attribute.g.initializer":
            inner = branch(tensor, [tensor])
            before(*choice(then_branch=inner, else_branch=inner))
        case "graph.node.attribute.g.node.attribute.t":
            inner = branch(tensor, nodes=[constant(value=tensor)])
            before(*choice(then_branch=inner, else_branch=inner))
        case "functions.node.attribute.t":
            call([constant(value=tensor)])
        case "functions.node.attribute.g.initializer":
            inner = branch(tensor, [tensor])
            call(choice(then_branch=inner, else_branch=inner))
        case "functions.attribute_proto.t":
            call([referring(constant(), "TENSOR", "value")], tensor)
        case "functions.attribute_proto.sparse_tensor.values":
            node = referring(constant(), "SPARSE_TENSOR", "sparse_value")
            call([node], sparse(values=tensor))
        case "functions.attribute_proto.g.initializer":
            true, node = choice()
            node = referring(node, "GRAPH", "then_branch", "else_branch")
            call([true, node], branch(tensor, [tensor]))
        case "functions.attribute_proto.tensors":
            call([constant(value=WEIGHTS)], [tensor])
        case "functions.attribute_proto.graphs.initializer":
            call([constant(value=WEIGHTS)], [branch(tensor, [tensor])])
        case "functions.attribute_proto.sparse_tensors.values":
            call([constant(value=WEIGHTS)], [sparse(values=tensor)])
        case "training_info.initialization.initializer":
            graph.initializer.append(WEIGHTS)
            model.training_info.add().initialization.initializer.append(tensor)
        case "training_info.algorithm.initializer":
            graph.initializer.append(WEIGHTS)
            model.training_info.add().algorithm.initializer.append(tensor)
        case "the value of ConstantOfShape":
            graph.initializer.append(numpy_helper.from_array(np.array([2]), "shape"))
            before(helper.make_node("ConstantOfShape", ["shape"], [weights], value=tensor))
        case "the keys of LabelEncoder":
            graph.initializer.append(INDICES)
            values = {"values_tensor": WEIGHTS, "default_tensor": ONE_NUMBER}
            model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 4))
            before(
                helper.make_node(
                    "LabelEncoder", ["indices"], [weights], domain="ai.onnx.ml",
                    keys_tensor=tensor, **values,
                )
            )  # fmt: skip
        case unknown:
            raise NotImplementedError(f"onnx has a new way to a tensor, {unknown}: add a model")
    return model


@pytest.mark.parametrize("place", ["absolute", "above", "symlink"])
@pytest.mark.parametrize("way", [*edges(), *MORE_WAYS], ids=".".join)
def test_no_weights_are_read_from_outside_the_folder(way, place, publish, tmp_path):
    """ONNX Runtime refuses the path. The same graph opens with the same file in the folder."""
    inline, expected = WEIGHTS, [[3, 4]]
    if way[-1] in ("indices", "the keys of LabelEncoder"):
        inline = INDICES
    elif way[-1] == "the value of ConstantOfShape":
        inline, expected = ONE_NUMBER, [[3, 3]]
    outside = tmp_path / "outside.bin"
    outside.write_bytes(inline.raw_data)
    location = {"absolute": str(outside), "above": "../../../outside.bin"}.get(place, "weights.bin")
    registry_path = publish(reading(way, stored_at(inline, location)))
    folder = registry_path / "sentiment" / "1"
    assert (folder / "../../../outside.bin").samefile(outside)
    if place == "symlink":
        (folder / "weights.bin").symlink_to(outside)

    if way in UNREAD and place != "symlink":
        before = logits(registry_path)
        outside.unlink()
        assert logits(registry_path) == before == expected
        return
    with pytest.raises(BadModel, match="Remove it" if place == "symlink" else "as one file"):
        registry.load(registry_path, "sentiment")
    if way not in UNREAD:
        with pytest.raises(Exception, match=r"(?i)external|data of tensorproto|escapes"):
            open_session(folder / "model.onnx")

    if way == CRASHES:
        return
    (folder / "weights.bin").unlink(missing_ok=True)
    (folder / "weights.bin").write_bytes(inline.raw_data)
    (folder / "model.onnx").write_bytes(
        reading(way, stored_at(inline, "weights.bin")).SerializeToString()
    )
    list_all_files(registry_path)
    assert logits(registry_path) == expected


def test_no_recipe_sends_onnx_runtime_to_another_folder_for_weights(publish):
    registry_path = publish(classifier())
    path = registry_path / "sentiment" / "1" / "manifest.json"
    forms = json.loads(path.read_text())["forms"]
    forms[0]["recipe"]["session"]["config"] = {
        "session.model_external_initializers_file_folder_path": "/etc"
    }
    edit(registry_path, forms=forms)
    with pytest.raises(BadModel, match="another folder"):
        registry.load(registry_path, "sentiment")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_folder_with_something_that_its_manifest_does_not_list_is_refused(publish, kind):
    registry_path = publish(classifier())
    added = registry_path / "sentiment" / "1" / "added"
    {
        "file": added.touch,
        "folder": added.mkdir,
        "link": functools.partial(added.symlink_to, "model.onnx"),
    }[kind]()
    with pytest.raises(BadModel, match="does not list added"):
        registry.load(registry_path, "sentiment")


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
