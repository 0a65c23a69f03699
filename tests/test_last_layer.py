"""One position in the last layer of every family, fused or not, and the rule of each operator."""

import inspect
from collections import Counter

import pytest
import torch
import transformers
from tiny_checkpoints import save

from tutorial_utils.graph import export, fusion, inspection
from tutorial_utils.models.pooling import Pooled, Pooling
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.inference import random_inputs

BATCH, LENGTH = 3, 17
SHAPES = ((1, 2), (BATCH, LENGTH), (2, 40))  # (batch, sequence)
PRODUCTS = ("Attention", "FusedMatMul", "MatMul", "MultiHeadAttention")
# Products of the last layer that have one row: queries, scores, their product with the values,
# and the three behind it. In a graph with fused attention, two of them are one.
ROWS = dict.fromkeys(("bert", "distilbert", "roberta", "electra", "albert"), (6, 5)) | {
    "mpnet": (6, 6),
    "deberta-v2": (7, 4),  # scores of words and of distances; fused, these need all queries
    "modernbert": (5, 4),  # queries are computed together with keys and values
}
ADDED = {"Gather", "Squeeze", "Concat"}  # the choice of the position, and shapes that have it


# Those whose graphs resemble another one's are left to `make test-slow`.
LIKE_BERT = ("distilbert", "roberta", "electra", "albert")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in LIKE_BERT else ()) for name in ROWS
    ],
)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def classifier(family, tmp_path_factory):
    folder = save(tmp_path_factory.mktemp(family), family, vocab_size=30_000)
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def default(classifier, tmp_path_factory):
    return exported(classifier, tmp_path_factory.mktemp("default") / "default.onnx")


@pytest.fixture(scope="module", params=["eager", "default", "fused"])
def files(request, classifier, default, tmp_path_factory):
    """A classifier's file, the same narrowed, and how many operators the position passed."""
    folder = tmp_path_factory.mktemp(request.param)
    source, narrow = folder / f"{request.param}.onnx", folder / "narrow.onnx"
    if request.param == "eager":
        exported(classifier, source, "eager")
    elif request.param == "fused":
        fusion.fuse(default, source)
        fusion.unfuse(source, source)
    else:
        source = default
    return source, narrow, fusion.narrow(source, narrow)


def exported(model, target, attention=None):
    takes = inspect.signature(model.forward).parameters
    inputs = {name: value for name, value in export.example_inputs().items() if name in takes}
    return export.export(model, target, inputs=inputs, attention=attention)


def rows(path):
    """How many products have a result of so many rows, for texts of ``LENGTH`` tokens."""
    nodes = [n for n in inspection.load_structure(path).graph.node if n.op_type in PRODUCTS]
    names = [node.output[0] for node in nodes]
    (found,) = inspection.tensors(path, names, [random_inputs(BATCH, LENGTH)])
    return Counter(found[name].shape[-2] for name in names)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_answers_stay(files, side):
    source, narrow, _ = files
    assert export.parity(source, narrow, SHAPES, Padding(side=side)).within(1e-5)


def test_the_last_layer_is_computed_for_one_row_but_keys_and_values(files, family):
    source, narrow, passed = files
    fused = source.stem == "fused"
    one, before, after = ROWS[family][fused], rows(source), rows(narrow)
    assert set(before) == {LENGTH}
    assert after[1] == one
    # What packed the three projections into one node is four nodes now.
    apart = 3 * (fused and inspection.op_counts(source)["Attention"] > 0)
    assert after == {LENGTH: before[LENGTH] - one + apart, 1: one}
    assert passed > one


def test_no_operator_is_computed_twice(files):
    source, narrow, _ = files
    before, after = inspection.op_counts(source), inspection.op_counts(narrow)
    if before["Attention"]:
        assert before - after == Counter(Attention=1)
        before += Counter(MatMul=3, Add=3, MultiHeadAttention=1)
    assert set(after - before) <= ADDED
    assert fusion.narrow(narrow, narrow) == 0


def test_it_ends_in_the_last_layer(tmp_path):
    passed = set()
    for layers in (2, 3):
        folder = save(tmp_path / str(layers), vocab_size=30_000, num_hidden_layers=layers)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        path = exported(model, tmp_path / f"{layers}.onnx", "eager")
        passed.add(fusion.narrow(path, path))
        assert rows(path)[1] == 6
    assert len(passed) == 1


class Reading(torch.nn.Module):
    """An encoder, and a classifier that reads the given positions of its last states."""

    def __init__(self, encoder, *positions):
        super().__init__()
        self.encoder, self.positions = encoder, positions
        self.classifier = torch.nn.Linear(32 * len(positions), 2)

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.encoder(input_ids, attention_mask, token_type_ids).last_hidden_state
        read = [states[:, position] for position in self.positions]
        return {"logits": self.classifier(torch.cat(read, dim=-1))}


def test_the_last_token_may_be_what_is_read(tiny_model, tmp_path):
    path = exported(Reading(tiny_model.bert, -1), tmp_path / "last.onnx", "eager")
    assert fusion.narrow(path, tmp_path / "narrow.onnx") == 26
    left = Padding(side="left")
    assert export.parity(path, tmp_path / "narrow.onnx", SHAPES, left).within(1e-5)
    assert rows(tmp_path / "narrow.onnx")[1] == 6


def test_two_readers_of_one_position_share_it(tiny_model, tmp_path):
    path = exported(Reading(tiny_model.bert, 0, 0), tmp_path / "twice.onnx", "eager")
    assert fusion.narrow(path, tmp_path / "narrow.onnx") == 26
    assert export.parity(path, tmp_path / "narrow.onnx", SHAPES).within(1e-5)


def test_a_graph_that_reads_two_positions_is_left_alone(tiny_model, tmp_path):
    path = exported(Reading(tiny_model.bert, 0, -1), tmp_path / "both.onnx", "eager")
    assert fusion.narrow(path, tmp_path / "same.onnx") == 0
    assert inspection.op_counts(tmp_path / "same.onnx") == inspection.op_counts(path)


@pytest.mark.parametrize(("mode", "one"), [("mean", 0), ("cls", 6)])
def test_a_mean_over_all_positions_is_left_alone(mode, one, tiny_model, tmp_path):
    model = Pooled(tiny_model.bert, Pooling(mode))
    path = export.export(model, tmp_path / "vectors.onnx", output="embedding", attention="eager")
    assert (fusion.narrow(path, path) > 0) == (one > 0)
    assert rows(path)[1] == one
