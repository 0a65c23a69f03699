"""A version of the registry as Triton's ONNX Runtime backend would read it."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tiny_models
from onnx import TensorProto, helper, numpy_helper
from served_tasks import SERVED
from service import bytes_as_tokens, mean_of_tokens, publish

from tutorial_utils import cli, registry
from tutorial_utils.registry import BadModel, ModelForm, loading, triton
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe


@pytest.fixture
def registry_path(tmp_path):
    publish(tmp_path / "registry")
    return tmp_path / "registry"


def test_the_layout_holds_the_version_its_labels_and_its_tokenizer(registry_path, tmp_path, capsys):
    target = tmp_path / "models"
    arguments = ["triton", "--registry", str(registry_path), "--out", str(target)]
    assert cli.main(arguments) == 0
    found = {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()}
    files = ("1/model.onnx", "config.pbtxt", "labels.txt", "tokenizer.json")
    assert found == {f"sentiment/{name}" for name in files}
    labels = (target / "sentiment" / "labels.txt").read_text().splitlines()
    assert tuple(labels) == tiny_models.LABELS
    assert cli.main(arguments) == 2
    assert "remove it first" in capsys.readouterr().err


def test_a_later_version_joins_the_first(registry_path, tmp_path):
    publish(registry_path)
    target = tmp_path / "models"
    folders = [triton.write(registry_path, "sentiment", target, version) for version in "12"]
    assert [folder.name for folder in folders] == ["1", "2"]
    assert all((folder / "model.onnx").is_file() for folder in folders)


def test_the_configuration_is_one_of_tritons_and_names_what_the_model_takes(
    registry_path, tmp_path
):
    grpc = pytest.importorskip("tritonclient.grpc", reason="needs grpcio, which [scale] brings")
    from google.protobuf import text_format

    triton.write(registry_path, "sentiment", tmp_path)
    text = (tmp_path / "sentiment" / "config.pbtxt").read_text()
    told = text_format.Parse(text, grpc.model_config_pb2.ModelConfig())
    assert (told.name, told.backend) == ("sentiment", "onnxruntime")
    kind = grpc.model_config_pb2.DataType
    inputs = [(i.name, kind.Name(i.data_type), list(i.dims)) for i in told.input]
    names = ("input_ids", "attention_mask")
    assert inputs == [(name, "TYPE_INT64", [-1]) for name in names]
    (output,) = told.output
    assert (output.name, list(output.dims), output.label_filename) == ("logits", [2], "labels.txt")
    assert told.max_batch_size > 1
    assert not any(given.allow_ragged_batch for given in told.input)
    assert told.optimization.graph.level == triton.NO_REWRITES


@pytest.mark.parametrize("name", SERVED)
def test_the_configuration_has_the_output_of_each_task(tmp_path, name):
    served = SERVED[name]
    served.publish(tmp_path / "registry")
    triton.write(tmp_path / "registry", name, tmp_path / "models")
    text = (tmp_path / "models" / name / "config.pbtxt").read_text()
    assert f"dims: [ {served.width or len(served.labels)} ]" in text
    assert f'name: "{"embedding" if served.task == "embedding" else "logits"}"' in text
    has_labels = (tmp_path / "models" / name / "labels.txt").exists()
    assert has_labels == ("label_filename" in text) == bool(served.labels)


def test_without_rewrites_it_answers_as_the_service_does(tmp_path):
    """The graph of notebook 02's recipe: some rewrites are left out by name, others are needed."""
    model, tokenizer = tmp_path / "model.onnx", tmp_path / "tokenizer.json"
    onnx.save(mean_of_tokens(), model)
    bytes_as_tokens().save(str(tokenizer))
    session = SessionRecipe(threads=1, disabled_optimizers=("ConstantFolding",))
    made = Recipe(session=session)
    forms = [ModelForm(model, made)]
    registry.write_version(tmp_path / "registry", "sentiment", forms, tokenizer, tiny_models.LABELS)
    folder = triton.write(tmp_path / "registry", "sentiment", tmp_path / "models")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = ort.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(0, 250, (3, 9))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    served = registry.load(tmp_path / "registry", "sentiment").logits(inputs)
    np.testing.assert_array_equal(plain.run(["logits"], inputs)[0], served)


def test_a_rewrite_left_out_by_name_is_not_in_the_file(tmp_path):
    """Add and LayerNormalization, which ONNX Runtime joins at load unless it is told not to."""
    shape = ["batch", "sequence", 8]
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    nodes = [
        helper.make_node("Add", ["x", "y"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["logits"]),
    ]
    held = [numpy_helper.from_array(np.ones(8, np.float32), name) for name in ("scale", "bias")]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "normalized", given, [output], held)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "made.onnx")

    def operators(*disabled: str) -> set[str]:
        target = tmp_path / f"{len(disabled)}.onnx"
        left_out = SessionRecipe(disabled_optimizers=disabled)
        triton.save_as_it_runs(tmp_path / "made.onnx", left_out, target)
        return {node.op_type for node in onnx.load(target).graph.node}

    assert operators() == {"SkipLayerNormalization"}
    assert operators("SkipLayerNormFusion") == {"Add", "LayerNormalization"}


def test_what_triton_could_not_run_so_is_refused(registry_path, tmp_path, monkeypatch):
    with pytest.raises(BadModel, match="has no version"):
        triton.write(registry_path, "sentiment", tmp_path / "models", "7")
    model = registry.load(registry_path, "sentiment")
    cuda = replace(model.recipe, session=SessionRecipe(provider="cuda"))
    other = replace(model, form=replace(model.form, recipe=cuda))
    monkeypatch.setattr(loading, "load", lambda *_: other)
    with pytest.raises(BadModel, match="not for a CPU"):
        triton.write(registry_path, "sentiment", tmp_path / "models")
    assert not (tmp_path / "models").exists()
