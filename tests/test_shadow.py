"""What the shadow calls the same answer, by task."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from tutorial_utils.registry import Manifest, ModelForm, read_manifest, write_version
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.rollout.shadow import Shadow, same_answers
from tutorial_utils.serving.rollout.traffic import TrafficMetrics

FORMS = (ModelForm("model.onnx"),)


def answer(rows, task="single_label", labels=("a", "b"), spread=None):
    manifest = Manifest("m", "1", labels, FORMS, {}, task, label_spread=spread)
    return Prediction(np.array(rows, np.float32), 0.0, 0.0, 0.0, manifest)


def test_a_label_is_compared_by_its_name():
    first = answer([[0.9, 0.1], [0.2, 0.8]])
    assert same_answers(first, answer([[0.1, 0.9], [0.1, 0.9]], labels=("b", "a"))) == [True, False]
    wider = answer([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]], labels=("a", "b", "c"))
    assert same_answers(first, wider) == [True, False]


def test_several_labels_must_all_be_the_same():
    """The likeliest label is the same in both rows."""
    first = answer([[0.9, 0.6], [0.9, 0.6]], "multi_label")
    other = answer([[0.7, 0.8], [0.1, 0.8]], "multi_label", ("b", "a"))
    assert same_answers(first, other) == [True, False]
    one = answer([[0.9], [0.9]], "multi_label", ("a",))
    assert same_answers(first, one) == [False, False]


@pytest.mark.parametrize("where", ["stable", "candidate"])
def test_a_value_must_not_move_far_for_its_labels(where):
    spreads = {"stable": None, "candidate": None} | {where: (100.0,)}
    first = answer([[10], [10]], "regression", ("score",), spreads["stable"])
    other = answer([[14.9], [15.1]], "regression", ("score",), spreads["candidate"])
    assert same_answers(first, other) == [True, False]


def test_values_of_unknown_spread_are_not_judged(caplog):
    first = answer([[10]], "regression", ("score",))
    assert same_answers(first, first) is None
    assert "label_spread" in caplog.text


def test_versions_of_different_tasks_never_agree():
    first = answer([[0.9, 0.1]])
    other = replace(first, manifest=replace(first.manifest, task="multi_label"))
    assert same_answers(first, other) == [False]


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_candidate_that_answers_otherwise_is_judged_so(task):
    """Its likeliest label is the stable version's: a regression has only one."""
    judged = []
    stable, other = ([[0.9]], [[0.1]]) if task == "multi_label" else ([[1.0]], [[7.0]])
    expected, found = (answer(rows, task, ("a",), (1.0,)) for rows in (stable, other))

    async def predict(texts):
        return found

    async def go():
        shadow = Shadow(
            TrafficMetrics(CollectorRegistry()), lambda _, error, agrees: judged.append(agrees)
        )
        engine = SimpleNamespace(version="2", predict=predict)
        shadow.mirror(SimpleNamespace(engine=engine, shadow=1.0), ["x"], expected)
        await shadow.settle()

    asyncio.run(go())
    assert judged == [[False]]


@pytest.mark.parametrize("spread", [None, (0.5, 20.0)])
def test_the_spread_of_the_labels_travels_with_the_version(spread, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    file = tmp_path / "file"
    form = ModelForm(file)
    folder = write_version(
        tmp_path, "m", [form], file, ("a", "b"), task="regression", label_spread=spread
    )
    assert read_manifest(folder).label_spread == spread
