import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from tutorial_utils import quality
from tutorial_utils.tasks import TASKS

labels = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=50)


@given(labels)
def test_f1_and_accuracy_are_those_of_scikit_learn(pairs):
    predicted, true = (np.array(values) for values in zip(*pairs, strict=True))
    found = quality.evaluate(predicted, true)
    assert found.score == pytest.approx(f1_score(true, predicted, zero_division=0))
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
    ("predicted", "true"), [([0, 1], [0]), ([], []), ([0, 2], [0, 1]), ([[[0]]], [[[0]]])]
)
def test_what_cannot_be_scored_is_refused(predicted, true):
    with pytest.raises(ValueError, match=r"one label per sentence|must be 0 or 1"):
        quality.evaluate(np.array(predicted), np.array(true))


# Regression.


def values(count=1_000, targets=1, seed=0):
    """Labels of different spread a target, and a model's values near them."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(0, 10.0 ** np.arange(targets), (count, targets))
    return labels, labels + rng.normal(0, 0.3, labels.shape) * labels.std(axis=0)


def score(predicted, labels, reference=None):
    return quality.evaluate_values(predicted, labels, reference)


def test_a_regression_that_is_off_in_scale_and_offset_does_not_agree():
    labels, right = values()
    found = score(0.5 * right + 3, labels, right)  # its correlation with the reference is 1
    assert found.agreement < 0.05
    assert found.worsening[1] > 1
    assert found.score == pytest.approx(np.sqrt(np.mean((0.5 * right + 3 - labels) ** 2)))
    assert found.difference == pytest.approx(found.score - score(right, labels).score)
    assert (found.metric, found.accuracy) == ("RMSE", None)


def test_two_targets_are_not_mixed():
    """The large one hides the small one in any sum or correlation over both."""
    labels, right = values(targets=5)
    other = right.copy()
    other[:, 0] = np.random.default_rng(1).permutation(other[:, 0])
    found = score(other, labels, right)
    assert np.corrcoef(other.ravel(), right.ravel())[0, 1] > 0.9999
    assert found.agreement < 0.1
    assert [one.agreement for one in found.targets[1:]] == [1, 1, 1, 1]
    assert found.metric == "RMSE of target 0"
    assert found.worsening == found.targets[0].worsening > (0.5, 0.5, 0.5)
    assert [one.worsening for one in found.targets[1:]] == [(0, 0, 0)] * 4


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_the_unit_of_the_label_changes_no_verdict(scale, offset):
    labels, right = values(50)
    worse = right + 0.04 * labels.std()
    plain = score(worse, labels, right)
    other = score(*(scale * a + offset for a in (worse, labels, right)))
    assert other.worsening == pytest.approx(plain.worsening, rel=1e-4)
    assert other.score == pytest.approx(scale * plain.score, rel=1e-4)
    assert other.agreement == plain.agreement == 1


def test_a_rise_of_rmse_is_worse_and_so_is_a_fall_of_f1():
    labels, right = values()
    assert score(labels, labels, right).worsening[0] < 0 < score(right, labels, labels).worsening[1]
    truth = np.arange(200) % 2
    noisy = np.where(np.arange(200) < 50, 1 - truth, truth)
    assert quality.evaluate(noisy, truth, truth).worsening[1] > 0
    assert quality.evaluate(truth, truth, noisy).worsening[2] < 0


def test_labels_that_are_all_the_same_number_are_refused_with_their_target():
    labels, right = values(60, targets=2)
    labels[:, 1] = 0.1
    with pytest.raises(ValueError, match=r"target 1 are the same .* Give texts"):
        score(right, labels, right)
    assert quality.spread_of(labels)[1] == 0


def test_a_model_without_a_reference_is_scored_by_its_worst_target():
    labels, right = values(targets=2)
    right[:, 1] += 100
    found = score(right, labels)
    assert (found.metric, found.difference) == ("RMSE of target 1", None)
    with pytest.raises(ValueError, match="reference"):
        _ = found.worsening


# What it means that two models agree.


def test_one_label_agrees_when_the_likeliest_is_the_same():
    found, other = np.array([[0.4, 0.6], [0.9, 0.1]]), np.array([[0.1, 0.9], [0.4, 0.6]])
    assert TASKS["single_label"].same(found, other).tolist() == [True, False]


def test_several_labels_agree_when_the_whole_set_does():
    """The likeliest label is the same in every row."""
    found = np.array([[0.9, 0.6, 0.1], [0.9, 0.4, 0.1], [0.3, 0.2, 0.1]])
    other = np.array([[0.9, 0.7, 0.2], [0.9, 0.6, 0.1], [0.6, 0.2, 0.1]])
    assert TASKS["multi_label"].same(found, other).tolist() == [True, False, False]


def test_values_agree_when_each_target_moves_by_less_than_a_twentieth_of_its_spread():
    reference = np.zeros((4, 2), np.float32)
    found = np.array([[0.04, 4], [0.06, 0], [0, 6], [-0.04, -4]])
    agree = TASKS["regression"].same(found, reference, (1.0, 100.0))
    assert agree.tolist() == [True, False, False, True]
    assert TASKS["regression"].same(reference, reference, (0.0, 0.0)).all()


def test_nothing_agrees_with_nan():
    nan = np.full((1, 1), np.nan)
    assert not TASKS["regression"].same(nan, np.zeros((1, 1)), (1.0,)).any()


def test_agreement_needs_the_spread_and_equal_shapes():
    with pytest.raises(ValueError, match="spread"):
        TASKS["regression"].same(np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"\(2, 1\) and \(2, 3\)"):
        TASKS["multi_label"].same(np.zeros((2, 1)), np.zeros((2, 3)))


# The bootstrap.


def by_scipy(score, predicted, labels, reference):
    """The interval as it is defined: whole texts are drawn, and everything is computed anew."""

    def difference(drawn, axis=-1):
        rows = [drawn] if drawn.ndim == 1 else drawn
        one = [score(predicted[r], labels[r]) - score(reference[r], labels[r]) for r in rows]
        return one[0] if drawn.ndim == 1 else np.array(one)

    return stats.bootstrap(
        (np.arange(len(labels)),),
        difference,
        vectorized=True,
        n_resamples=quality.RESAMPLES,
        batch=200,
        method="percentile",
        rng=0,
    ).confidence_interval


def flipped(labels, share, classes, seed):
    rng = np.random.default_rng(seed)
    other = (labels + rng.integers(1, classes, labels.shape)) % classes
    return np.where(rng.random(labels.shape) < share, other, labels)


def rmse(p, t):
    return np.sqrt(np.mean((p - t) ** 2))


def plain_f1(p, t):
    hits = np.sum(p & t)
    return 2 * hits / (2 * hits + np.sum(p & ~t) + np.sum(~p & t))


SCORES = {
    "F1": ((80,), 2, {}, lambda p, t: plain_f1(p == 1, t == 1)),
    "macro F1": (
        (80,),
        4,
        {"classes": 4},
        lambda p, t: np.mean([plain_f1(p == c, t == c) for c in range(4)]),
    ),
    "micro F1": ((80, 3), 2, {}, lambda p, t: plain_f1(p == 1, t == 1)),
    "RMSE": ((80,), 9, {}, rmse),
}


@pytest.mark.parametrize("name", SCORES)
def test_the_interval_is_that_of_a_bootstrap_over_whole_texts(name):
    shape, classes, options, score = SCORES[name]
    labels = np.random.default_rng(0).integers(0, classes, shape)
    predicted, reference = (
        flipped(labels, share, classes, seed) for seed, share in enumerate((0.2, 0.1))
    )
    evaluate = quality.evaluate_values if name == "RMSE" else quality.evaluate
    found = evaluate(predicted, labels, reference, **options)
    expected = by_scipy(score, predicted, labels, reference)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)
    assert found.score == pytest.approx(score(predicted, labels))


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
def test_memory_does_not_grow_with_labels_times_texts_times_resamples(task):
    labels = np.zeros((4_000, 1_000), np.int8)
    labels[np.arange(4_000), np.arange(4_000) % 1_000] = 1
    predicted, reference = labels.copy(), labels.copy()
    predicted[:400] = reference[400:800] = 0
    arrays = [predicted, labels, reference]
    if task == "single_label":
        arrays = [a.argmax(axis=1) for a in arrays]
    tracemalloc.start()
    try:
        found = quality.evaluate(*arrays, classes=1_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.low < 0 < found.high
    assert peak < 200e6
