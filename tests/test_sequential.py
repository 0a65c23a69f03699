"""Trials by simulation: how often a good canary is taken back, and a bad one found in time."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from tutorial_utils.serving.rollout import sequential
from tutorial_utils.serving.rollout.sequential import ALPHA, FIRST, Counts
from tutorial_utils.serving.rollout.traffic import DISAGREEMENT, ERRORS, Trial

LIMIT, TOLERATED = 0.9, 0.05  # the settings' min_agreement and max_errors


def taken_back_for_disagreement(agreement: float, texts: int, trials: int = 1_000) -> float:
    """Share of trials that end, looked at after each text."""
    rng = np.random.default_rng(0)
    differing = np.cumsum(rng.random((trials, texts)) >= agreement, axis=1, dtype=np.int32)
    agreeing = np.arange(1, texts + 1, dtype=np.int32) - differing
    ratio = sequential.log_likelihood_ratio(agreeing, differing, LIMIT)
    return (ratio >= math.log(1 / ALPHA)).any(axis=1).mean()


@pytest.mark.parametrize("agreement", [0.95, 0.98])
def test_a_canary_that_agrees_is_rarely_taken_back_in_10_000_texts(agreement):
    assert taken_back_for_disagreement(agreement, 10_000) <= ALPHA


def test_a_canary_that_disagrees_is_taken_back_within_200_texts():
    assert taken_back_for_disagreement(0.85, 200) >= 0.90


def taken_back_for_errors(
    canary: float, stable: float, share: float, answers: int, trials: int = 2_000
) -> float:
    """Share of trials that end within so many answers of a canary with this share of callers.

    Versions fail at random and apart, at these rates. The rule is that of ``Trial``, for all
    trials at once and with scipy's test.
    """
    rng = np.random.default_rng(0)
    ended = np.zeros(trials, bool)
    failed, both, own, own_failed = np.zeros((4, trials), int)
    looks = [n for n in range(1, answers + 1) if sequential.alpha_at(n)]
    for before, look in zip([0, *looks], looks, strict=False):
        errs = rng.binomial(look - before, canary, trials)
        of_both = rng.binomial(errs, stable)
        failed, both = failed + errs - of_both, both + of_both
        others = rng.negative_binomial(look - before, share, trials) if share < 1 else 0
        own, own_failed = own + others, own_failed + rng.binomial(others, stable)
        few = own < failed + both
        n, x = np.where(few, look, look - both), np.where(few, failed + both, failed)
        m, y = np.where(few, failed + both, own), np.where(few, both, own_failed)
        significant = scipy.stats.hypergeom.sf(x - 1, n + m, x + y, n) < sequential.alpha_at(look)
        ended |= significant & (x / np.maximum(n, 1) - y / np.maximum(m, 1) > TOLERATED)
    return ended.mean()


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_a_canary_that_errs_as_the_stable_version_does_is_rarely_taken_back(rate, share):
    assert taken_back_for_errors(rate, rate, share, 10_000) <= ALPHA


@pytest.mark.parametrize("stable", [0.0, 0.02])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_ten_points_more_errors_are_found_within_200_answers(stable, share):
    assert taken_back_for_errors(stable + 0.1, stable, share, 200) >= 0.90


def test_a_canary_that_fails_always_is_taken_back_at_the_first_look_also_with_all_callers():
    assert taken_back_for_errors(1.0, 0.02, 1.0, FIRST) == 1


def test_all_looks_together_spend_no_more_than_alpha():
    assert sum(sequential.alpha_at(n) for n in range(1, 100_000)) <= ALPHA


@given(st.integers(0, 300), st.integers(0, 300), st.data())
def test_the_p_value_is_fishers(canary, stable, data):
    x, y = data.draw(st.integers(0, canary)), data.draw(st.integers(0, stable))
    found = sequential.p_value(Counts(canary, x), Counts(stable, y))
    table = [[x, canary - x], [y, stable - y]]
    assert found == pytest.approx(scipy.stats.fisher_exact(table, "greater").pvalue, abs=1e-9)


@given(st.floats(0, 1, exclude_max=True))
@example(1 - 2**-53)
def test_whatever_the_limit_agreement_speaks_for_the_canary(limit):
    assert not sequential.disagrees(1_000, 0, limit)


def test_a_limit_of_zero_is_never_missed():
    assert not sequential.disagrees(0, 10_000, 0.0)


def trial() -> Trial:
    return Trial(TOLERATED, LIMIT)


def test_a_trial_ends_for_errors_or_disagreement_and_says_which():
    failing, differing = trial(), trial()
    failing.stable = Counts(FIRST, 0)
    for _ in range(FIRST):
        assert failing.verdict() is None
        failing.answered(error=True)
    assert failing.verdict() == ERRORS
    differing.compared([False] * 3)
    assert differing.verdict() == DISAGREEMENT


def test_texts_that_both_versions_fail_speak_against_neither():
    both = trial()
    both.stable = Counts(1_000, 0)
    for _ in range(200):
        both.failed_both()
        both.answered(error=False)
    assert both.verdict() is None


def test_few_answers_of_the_stable_version_are_no_proof_against_the_canary():
    both = trial()
    for i in range(400):  # all callers are the canary's; one error in fifty
        both.answered(error=i % 50 == 0)
    assert both.verdict() is None


def test_more_errors_than_tolerated_are_asked_for_even_when_they_are_no_chance():
    many = trial()
    many.stable = Counts(100_000, 0)
    for i in range(6_400):
        many.answered(error=i % 25 == 0)  # 4 points more
    assert many.verdict() is None
