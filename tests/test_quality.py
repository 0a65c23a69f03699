import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from tutorial_utils import quality

labels = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=50)


@given(labels)
def test_f1_and_accuracy_are_those_of_scikit_learn(pairs):
    predicted, true = (np.array(values) for values in zip(*pairs, strict=True))
    found = quality.evaluate(predicted, true)
    assert found.f1 == pytest.approx(f1_score(true, predicted, zero_division=0))
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted))


def test_a_model_agrees_with_itself_without_doubt():
    answers = np.array([0, 1, 1, 0])
    found = quality.evaluate(answers, answers, answers)
    assert (found.agreement, found.difference, found.low, found.high) == (1, 0, 0, 0)


def test_the_paired_interval_tells_a_real_loss_from_chance():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 2_000)
    good = np.where(rng.random(2_000) < 0.1, 1 - true, true)
    worse = np.where(rng.random(2_000) < 0.1, 1 - good, good)
    found = quality.evaluate(worse, true, good)
    assert found.low < found.difference < found.high < 0
    other = np.where(rng.random(2_000) < 0.1, 1 - true, true)  # as good, with other mistakes
    same = quality.evaluate(other, true, good)
    assert same.low < 0 < same.high


def test_the_paired_interval_is_narrower_than_two_separate_ones():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 2, 2_000)
    good = np.where(rng.random(2_000) < 0.12, 1 - true, true)
    nearly = good.copy()
    nearly[:20] = 1 - nearly[:20]  # 99 % agreement
    found = quality.evaluate(nearly, true, good)
    assert found.agreement == pytest.approx(0.99)
    assert found.high - found.low < 0.02  # two separate 95 % intervals would be about 0.04 wide


@pytest.mark.parametrize(
    ("predicted", "true"), [([0, 1], [0]), ([], []), ([0, 2], [0, 1]), ([[0]], [[0]])]
)
def test_what_cannot_be_scored_is_refused(predicted, true):
    with pytest.raises(ValueError, match=r"one label a sentence|must be 0 or 1"):
        quality.evaluate(np.array(predicted), np.array(true))
