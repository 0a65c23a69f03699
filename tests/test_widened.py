"""A base-size model with the encoder of the course's classifier computes what that computes."""

import copy

import pytest
import torch
import transformers

from benchmarks.families import widened
from benchmarks.families.checkpoints import FAMILIES
from tutorial_utils.core import scoped
from tutorial_utils.data import reviews
from tutorial_utils.runtime import batching

WIDTH = 384  # of the classifier


@pytest.fixture(scope="module")
def classifier():
    """Of the shape of the course's, with random weights."""
    size = {"hidden_size": WIDTH, "num_hidden_layers": 6, "intermediate_size": 4 * WIDTH}
    with scoped.torch_seed(1):
        return transformers.BertForSequenceClassification(transformers.BertConfig(**size)).eval()


@pytest.fixture(scope="module")
def inputs():
    rows = reviews.encode(reviews.splits().test.texts[:32])
    return {name: torch.from_numpy(values) for name, values in batching.pad(rows).items()}


def first_of(model, inputs):
    """What a model's encoder computes at the first position, float32 (batch, width)."""
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return model.base_model(**given).last_hidden_state[:, 0]


def widen(family, layers, classifier):
    settings = FAMILIES[family] | {"pad_token_id": 0, "vocab_size": 30_522}
    with scoped.torch_seed(0), scoped.quiet_transformers():
        config = transformers.AutoConfig.for_model(family, **settings)
        config.num_hidden_layers = layers
        model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        widened.widen(model, family, classifier)
    return model


@pytest.mark.parametrize(
    "family",
    ["deberta-v2",
     *(pytest.param(name, marks=pytest.mark.slow)
       for name in widened.FAMILIES if name != "deberta-v2")],
)  # fmt: skip
def test_both_copies_are_what_the_classifier_computes(family, classifier, inputs):
    if family == "deberta-v2":  # it has no positions of its own
        classifier = copy.deepcopy(classifier)
        classifier.bert.embeddings.position_embeddings.weight.data.zero_()
    found, expected = (first_of(one, inputs) for one in (widen(family, 6, classifier), classifier))
    for copied in found.split(WIDTH, dim=1):
        assert torch.dist(copied, expected) < 1e-4 * expected.norm()


def test_layers_that_pass_on_change_little(classifier, inputs):
    model = widen("bert", 12, classifier)
    copied, expected = first_of(model, inputs)[:, :WIDTH], first_of(classifier, inputs)
    assert 1e-4 * expected.norm() < torch.dist(copied, expected) < 0.3 * expected.norm()
    weights = model.bert.encoder.layer[1].output.dense.weight
    assert widened.NOISE / 2 < weights.std() < 2 * widened.NOISE
