"""The files that ``optimize`` writes: 7-bit weights where needed, and right at any length."""

import platform
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.tape import Tape
from test_optimize import command, fixed_times, job_of
from tiny_checkpoints import save, texts

from tutorial_utils import cli, registry
from tutorial_utils.core import machine
from tutorial_utils.data import labelled
from tutorial_utils.graph.rewrites import constant
from tutorial_utils.models import classifiers
from tutorial_utils.optimize import answers, long_inputs, variants
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.runtime.session import EXACT


@pytest.fixture
def clock(monkeypatch):
    return fixed_times(monkeypatch)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A job after its export; its texts are short."""
    folder = tmp_path_factory.mktemp("exported")
    classifier = classifiers.open_classifier(save(folder / "model"))
    data = labelled.Labelled(tuple(texts(40)), np.zeros(40, int))
    job = job_of(classifier, folder / "work", data)
    variants.exported(job)
    return job


@pytest.mark.parametrize(("feature", "config"), [("avx2", {EXACT: "0"}), ("avx512_vnni", {})])
def test_the_report_and_the_recipe_tell_of_7_bit_weights(
    feature, config, clock, tmp_path, monkeypatch
):
    monkeypatch.setattr(machine, "features", lambda: (feature,))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert cli.main(command(tmp_path, "--min-agreement", "0.9")) == 0
    model = registry.load(tmp_path / "out" / "registry", "model")
    assert model.form.precision == "int8"
    assert model.recipe.session.config == config
    report = (tmp_path / "out" / "report.md").read_text()
    assert ("weights have 7 bits" in report) == bool(config)


def differing(source, target, tokens, padded=False):
    """A copy of a classifier's file whose logits are 1 too high for inputs of ``tokens`` or more.

    padded: only where some token is padding.
    """
    model = ir.load(str(source))
    logits = model.graph.outputs[0]
    tape = Tape()
    mask = next(v for v in model.graph.inputs if v.name == "attention_mask")
    ones = tape.op("CastLike", [mask, logits])
    real = tape.op("ReduceMean", [ones], {"keepdims": 0})
    width = tape.op("Cast", [tape.op("Shape", [mask], {"start": 1})], {"to": ir.DataType.FLOAT})
    long = tape.op("GreaterOrEqual", [width, constant(model, "tokens", np.float32(tokens))])
    if padded:
        long = tape.op(
            "And", [long, tape.op("Less", [real, constant(model, "one", np.float32(1))])]
        )
    wrong = tape.op("Add", [logits, tape.op("CastLike", [long, logits])])
    model.graph.extend(tape.nodes)
    wrong.name, logits.name = "logits", "right"
    model.graph.outputs[0] = wrong
    ir.save(model, target)
    return target


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("tokens", "named"),
    [
        (24, "at 32 tokens"),
        (33, "at 64 tokens"),
        (64, "at 64 tokens"),
        (65, None),
        (1, "PyTorch: a logit"),
    ],
)
def test_a_file_that_differs_only_at_long_inputs_is_refused_with_the_length(
    tokens, named, padded, exported, tmp_path
):
    """The texts have at most 21 tokens; the model reads 64."""
    assert max(map(len, exported.texts.rows)) < 24
    file = differing(exported.file("exported"), tmp_path / "wrong.onnx", tokens, padded)
    problem = answers.problem(exported, file)
    if named is None:
        assert problem is None
    else:
        if padded:
            named = named.replace("32 tokens", "22 tokens padded to 32")
            named = named.replace("64 tokens", "43 tokens padded to 64")
        assert named in problem


def test_rows_of_the_greatest_length_and_half_of_it_full_and_padded_on_its_side(exported):
    for side in ("right", "left"):
        padding = replace(exported.classifier.padding, side=side)
        job = replace(exported, classifier=replace(exported.classifier, padding=padding))
        found = [(x.inputs["attention_mask"].sum(), x.width) for x in long_inputs.of(job)]
        assert found == [(32, 32), (22, 32), (64, 64), (43, 64)]
        masks = [x.inputs["attention_mask"][0] for x in long_inputs.of(job)]
        assert [m[0] for m in masks] == ([1] * 4 if side == "right" else [1, 0, 1, 0])
        rows = [
            x.inputs["input_ids"][0][m == 1]
            for x, m in zip(long_inputs.of(job), masks, strict=True)
        ]
        assert all((row[0], row[-1]) == (2, 3) for row in rows)  # [CLS] and [SEP]
        assert all(set(row) & {0, 2, 3} == {2, 3} for row in rows)


def test_fewer_bits_are_refused_when_most_long_inputs_get_another_answer(exported, tmp_path):
    file = exported.file("exported")
    assert answers.problem_at_length(exported, file) is None
    model = ir.load(str(file))
    last = model.graph.outputs[0]
    tape = Tape()
    opposite = tape.op("Neg", [last])
    model.graph.extend(tape.nodes)
    opposite.name, last.name = "logits", "right"
    model.graph.outputs[0] = opposite
    ir.save(model, tmp_path / "opposite.onnx")
    problem = answers.problem_at_length(exported, tmp_path / "opposite.onnx")
    assert "answers differ at 32 tokens, 22 tokens padded to 32, 64 tokens" in problem


def test_a_model_that_cannot_read_its_greatest_length_is_refused(tmp_path):
    """Its positions end at 80, and the tokenizer's limit says more."""
    opened = classifiers.open_classifier(save(tmp_path / "model"))
    job = Job(replace(opened, max_length=100), Texts.of(opened, None), tmp_path / "work")
    with pytest.raises(classifiers.BadClassifier, match=r"fails at 100 tokens: .*model_max_length"):
        answers.store_reference(job)
