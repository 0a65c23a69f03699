"""The chain of steps on real artifacts, and the properties that every machine must show."""

import subprocess
import sys

import numpy as np
import pytest

from tutorial_utils.data import reviews
from tutorial_utils.graph import export, inspection
from tutorial_utils.lessons import measure, pipeline
from tutorial_utils.models import finetuning


@pytest.mark.built
@pytest.mark.slow  # thousands of sentences, one by one, in fp32
def test_the_chain_keeps_the_answers():
    labels = reviews.splits().test.labels
    expected = measure.evaluate("pytorch")
    assert expected.sentences >= 2_000
    assert expected.score >= 0.87
    for step, agreement in (("exported", 0.999), ("fused", 0.999), ("int8", 0.97)):
        found = measure.evaluate(step)
        assert found.sentences == len(labels)
        assert found.agreement >= agreement
        assert abs(found.difference) <= 0.005


@pytest.mark.built
def test_fused_is_the_exported_function():
    parity = export.parity(
        pipeline.ensure("exported"), pipeline.ensure("fused"), shapes=((1, 24), (3, 17))
    )
    assert parity.within(1e-4)


@pytest.mark.built
def test_the_bert_base_file_is_four_times_smaller():
    ratio = measure.size_mb("exported") / measure.size_mb("int8")
    assert ratio >= 3.9
    counts = inspection.op_counts(pipeline.ensure("int8", "bert-base"))
    # The last layer has one query a text, and so an attention of another kind.
    assert (counts["QAttention"], counts["MultiHeadAttention"]) == (11, 1)


@pytest.mark.built
def test_what_is_built_is_not_built_again():
    before = pipeline.ensure("int8").stat().st_mtime_ns
    assert pipeline.ensure("tuned").stat().st_mtime_ns == before


@pytest.mark.built
def test_the_pipeline_runs_with_sockets_blocked():
    code = """
import socket
def refuse(*_, **__): raise OSError("the network was touched")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from tutorial_utils.data import assets
from tutorial_utils.lessons import measure, pipeline
for step in pipeline.STEPS:
    pipeline.ensure(step)
assert all(assets.present(a) for a in (assets.ENCODER, assets.SENTENCES))
print(measure.evaluate("tuned").score > 0.8)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=500)
    assert done.stdout.strip() == "True", done.stderr[-2000:]


@pytest.mark.built
def test_fewer_sentences_are_scored_when_lessons_are_only_checked(monkeypatch):
    every = measure.sentences()
    monkeypatch.setenv("TUTORIAL_PACE", "quick")
    few = measure.sentences()
    assert few.texts == every.texts[: len(few)]
    assert 100 < len(few) < len(every) / 2


@pytest.mark.parametrize(("step", "model"), [("onnx", "classifier"), ("int8", "gpt")])
def test_unknown_names_are_refused_with_the_known_ones(step, model):
    with pytest.raises(pipeline.UnknownStep, match="choose one of"):
        pipeline.ensure(step, model)


def test_a_missing_step_and_those_before_it_are_built_once_and_stale_ones_again(
    tiny_model, monkeypatch
):
    monkeypatch.setattr(finetuning, "bert_base", lambda: tiny_model)
    path = pipeline.ensure("int8", "bert-base")
    built = {p.name for p in path.parent.glob("*.onnx")}
    assert built == {"exported.onnx", "fused.onnx", "int8.onnx"}
    assert inspection.op_counts(path)["QAttention"] == 1
    times = {p.name: p.stat().st_mtime_ns for p in path.parent.glob("*.onnx")}
    fused = path.with_name("fused.onnx")
    fused.with_suffix(".json").write_text("{}")  # as if another version had made it
    pipeline.ensure("int8", "bert-base")
    again = {p.name: p.stat().st_mtime_ns for p in path.parent.glob("*.onnx")}
    assert again["exported.onnx"] == times["exported.onnx"]
    assert again["fused.onnx"] > times["fused.onnx"]


@pytest.mark.built
def test_labelling_is_the_same_in_batches_and_alone():
    from tutorial_utils.models.labelling import label
    from tutorial_utils.runtime.inference import onnx_predict

    predict = onnx_predict(pipeline.ensure("fused"), pipeline.recipe("fused").session)
    texts = reviews.splits().test.texts[:50]
    alone = label(texts, predict, width=128)
    assert np.array_equal(alone, label(texts, predict, budget=1024))
