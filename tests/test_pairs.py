"""Pairs of texts and single scores: from a checkpoint to an answer over HTTP."""

import asyncio
from dataclasses import replace

import numpy as np
import onnx
import pytest
import service
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_models import LABELS

from tutorial_utils import quality
from tutorial_utils.registry import BadModel, ModelForm, load, write_version
from tutorial_utils.runtime import batching, tokenization
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.serving.rollout.deployment import Deployment
from tutorial_utils.serving.settings import Settings
from tutorial_utils.tasks import TASKS, Truth


def share_of_second() -> onnx.ModelProto:
    """A classifier of pairs: logits are 0 and the share of tokens that are in the second text."""
    constants = {"one": np.array([1]), "both": np.array([0.0, 1.0], np.float32)}
    nodes = [
        helper.make_node("Cast", ["token_type_ids"], ["second"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["second", "real"], ["inside"]),
        helper.make_node("ReduceSum", ["inside", "one"], ["sum"], keepdims=1),
        helper.make_node("ReduceSum", ["real", "one"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["share"]),
        helper.make_node("Mul", ["share", "both"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in batching.INPUTS
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    used = [i for i in inputs if i.name != "input_ids"]
    nodes.append(helper.make_node("Identity", ["input_ids"], ["unused"]))
    graph = helper.make_graph(nodes, "share", [inputs[0], *used], outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def registry_path(tmp_path):
    """Version 1 of ``sentiment`` reads pairs."""
    onnx.save(share_of_second(), tmp_path / "model.onnx")
    service.bytes_as_tokens_of_pairs().save(str(tmp_path / "tokenizer.json"))
    write_version(
        tmp_path / "r", "sentiment", [ModelForm(tmp_path / "model.onnx")],
        tmp_path / "tokenizer.json", LABELS, reads="pair",
    )  # fmt: skip
    return tmp_path / "r"


def expected(first: str, second: str) -> float:
    """Share of bytes of the second text, with the [SEP] that belongs to it."""
    inside = len(second) + 1
    return float(quality.sigmoid(np.array(inside / (len(first) + 2 + inside))))


PAIRS = [["ab", "abcdef"], ["a quiet story", "told"], ["x", "y"]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_segments_of_a_pair_reach_the_model_with_padding_on_either_side(side):
    reader = tokenization.prepare(service.bytes_as_tokens_of_pairs(), 64)
    rows = tokenization.encode(reader, [tuple(pair) for pair in PAIRS])
    inputs = batching.pad(rows, padding=Padding(side=side))
    counted = inputs["token_type_ids"].sum(axis=1)
    assert counted.tolist() == [len(second) + 1 for _, second in PAIRS]
    assert (inputs["token_type_ids"] <= inputs["attention_mask"]).all()
    ends = inputs["token_type_ids"][0].tolist()
    assert ends[-1 if side == "left" else len(rows[0]) - 1] == 1
    plain = tokenization.encode(reader, ["ab"])
    assert batching.pad(plain)["token_type_ids"].sum() == 0


def test_pairs_are_answered_over_http_in_their_order(registry_path):
    with service.running(Settings(registry=registry_path)) as client:
        body = client.post("/predict", json={"texts": PAIRS}).json()
        found = [answer["probabilities"][LABELS[1]] for answer in body["predictions"]]
        assert found == pytest.approx([expected(*pair) for pair in PAIRS], abs=1e-6)
        assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["alone"], "reads pairs: send each as [first, second]"),
        ([["a", "b"], "alone"], "reads pairs"),
        ([["a"]], "texts.0"),
        ([["a", "b", "c"]], "texts.0"),
        ([["a", ""]], "the text is empty"),
        ([[]], "texts.0"),
        ([["a", None]], "texts.0.1"),
        ([[["a", "b"], "c"]], "texts.0.0"),
    ],
)
def test_what_is_no_pair_is_refused_and_the_place_is_named(registry_path, texts, told):
    with service.running(Settings(registry=registry_path)) as client:
        answer = client.post("/predict", json={"texts": texts})
        assert answer.status_code == (409 if "reads pairs" in told else 422)
        assert told in answer.text


def test_a_version_of_another_kind_takes_no_place_beside_the_one_in_use(registry_path, tmp_path):
    async def scenario():
        service.publish(tmp_path / "single")
        single = load(tmp_path / "single", "sentiment")
        other = replace(single, manifest=replace(single.manifest, version="9"))
        deployment = Deployment(Settings(registry=registry_path), load(registry_path, "sentiment"))
        try:
            with pytest.raises(
                BadModel, match=r"9 reads a text at a time .* reads a pair at a time"
            ):
                deployment.place(other)
        finally:
            await deployment.close()

    asyncio.run(scenario())


# Scores and rankings.


def test_a_score_is_a_sigmoid_and_half_is_the_threshold():
    score = TASKS["score"]
    answers = score.answers(np.array([[-2.0], [0.0], [3.0]]))
    assert answers[:, 0] == pytest.approx(torch.sigmoid(torch.tensor([-2.0, 0, 3])).numpy())
    assert score.tell(answers[2], ["LABEL_0"])["probability"] == pytest.approx(0.9526, abs=1e-4)
    found = score.evaluate(answers, answers, Truth(np.array([[0.0], [0], [1]])))
    assert (found.metric, found.score, found.agreement) == ("F1", 1, 1)


@pytest.mark.parametrize(
    ("labels", "grouped", "fits"),
    [
        ([0, 1, 1], False, True),
        ([0, 0.5, 1], False, False),
        ([0, 3], True, True),
        ([0, 2], False, False),
    ],
)
def test_labels_of_any_value_make_one_logit_a_regression(labels, grouped, fits):
    assert TASKS["score"].fits(np.array(labels, float)[:, None], grouped) is fits


def test_ndcg_is_that_of_scikit_learn_and_ties_share_their_places():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 15)
    relevance = rng.integers(0, 4, 450).astype(float)
    scores = rng.integers(0, 6, 450) / 5.0  # many ties
    found = quality.evaluate_ranking(scores, relevance, scores, groups)
    rows = [groups == g for g in range(30)]
    right = np.mean([ndcg_score([2 ** relevance[r] - 1], [scores[r]], k=10) for r in rows])
    assert found.metric == "NDCG@10"
    assert found.score == pytest.approx(right)
    assert (found.difference, found.low, found.high, found.agreement) == (0, 0, 0, 1)
    worse = quality.evaluate_ranking(-relevance, relevance, relevance, groups)
    assert worse.high < 0


def test_queries_without_a_relevant_text_do_not_count():
    groups, scores = np.array([0, 0, 1, 1]), np.array([0.9, 0.1, 0.3, 0.6])
    found = quality.evaluate_ranking(scores, np.array([1.0, 0, 0, 0]), None, groups)
    assert (found.score, found.sentences) == (1, 1)
    with pytest.raises(ValueError, match="No group has a relevant text"):
        quality.evaluate_ranking(scores, np.zeros(4), None, groups)
