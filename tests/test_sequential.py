"""Simulated trials: how often a good canary is rolled back, and a bad one found in time."""

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


def rolled_back_for_disagreement(agreement: float, texts: int, trials: int = 1_000) -> float:
    """Share of trials that end, looked at after each text."""
    rng = np.random.default_rng(0)
    differing = np.cumsum(rng.random((trials, texts)) >= agreement, axis=1, dtype=np.int32)
    agreeing = np.arange(1, texts + 1, dtype=np.int32) - differing
    ratio = sequential.log_likelihood_ratio(agreeing, differing, LIMIT)
    return (ratio >= math.log(1 / ALPHA)).any(axis=1).mean()


@pytest.mark.parametrize("agreement", [0.95, 0.98])
def test_a_canary_that_agrees_is_rarely_rolled_back_in_10_000_texts(agreement):
    assert rolled_back_for_disagreement(agreement, 10_000) <= ALPHA


def test_a_canary_that_disagrees_is_rolled_back_within_200_texts():
    assert rolled_back_for_disagreement(0.85, 200) >= 0.90


def rolled_back_for_errors(
    canary: float,
    stable: float,
    share: float,
    answers: int,
    trials: int = 2_000,
    texts_at_fault: bool = False,
) -> float:
    """Share of trials that end within so many answers of a canary with this share of callers.

    The versions fail independently at these rates; or, with ``texts_at_fault``, the canary fails
    whatever the stable version would, and more. The rule is that of ``Trial``, for all trials at
    once and with scipy's test.
    """
    rng = np.random.default_rng(0)
    ended = np.zeros(trials, bool)
    failed, both, own, own_failed = np.zeros((4, trials), int)
    looks = [n for n in range(1, answers + 1) if sequential.alpha_at(n)]
    for before, look in zip([0, *looks], looks, strict=False):
        if texts_at_fault:
            of_both = rng.binomial(look - before, stable, trials)
            others = look - before - of_both
            errs = of_both + rng.binomial(others, (canary - stable) / (1 - stable))
        else:
            errs = rng.binomial(look - before, canary, trials)
            of_both = rng.binomial(errs, stable)
        failed, both = failed + errs, both + of_both
        others = rng.negative_binomial(look - before, share, trials) if share < 1 else 0
        own, own_failed = own + others, own_failed + rng.binomial(others, stable)
        few = own < failed
        m, y = np.where(few, failed, own), np.where(few, both, own_failed)
        p_value = scipy.stats.hypergeom.sf(failed - 1, look + m, failed + y, look)
        excess = np.minimum((failed - both) / look, failed / look - y / np.maximum(m, 1))
        ended |= (p_value < sequential.alpha_at(look)) & (excess > TOLERATED)
    return ended.mean()


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_a_canary_that_errs_as_the_stable_version_does_is_rarely_rolled_back(rate, share):
    assert rolled_back_for_errors(rate, rate, share, 10_000) <= ALPHA


@pytest.mark.parametrize("stable", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("texts_at_fault", [False, True])
def test_ten_points_more_errors_are_found_within_200_answers(stable, share, texts_at_fault):
    found = rolled_back_for_errors(stable + 0.1, stable, share, 200, texts_at_fault=texts_at_fault)
    assert found >= 0.90


@pytest.mark.parametrize("texts_at_fault", [False, True])
def test_they_are_mostly_found_where_the_stable_version_fails_a_tenth(texts_at_fault):
    found = rolled_back_for_errors(0.2, 0.1, 0.5, 200, texts_at_fault=texts_at_fault)
    assert found >= 0.75


def test_a_canary_that_always_fails_is_rolled_back_at_the_first_look_even_with_all_callers():
    assert rolled_back_for_errors(1.0, 0.02, 1.0, FIRST) == 1


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
def test_whatever_the_limit_full_agreement_never_counts_against_the_canary(limit):
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


def test_texts_that_both_versions_fail_count_against_neither():
    both = trial()
    both.stable = Counts(1_000, 0)
    for _ in range(200):
        both.answered(error=True, by_both=True)
        both.answered(error=False)
    assert both.verdict() is None


def test_few_answers_of_the_stable_version_are_no_proof_against_the_canary():
    both = trial()
    for i in range(400):  # all callers are the canary's; one error in fifty
        both.answered(error=i % 50 == 0)
    assert both.verdict() is None


def test_a_difference_within_the_tolerance_is_accepted_even_when_it_is_significant():
    many = trial()
    many.stable = Counts(100_000, 0)
    for i in range(6_400):
        many.answered(error=i % 25 == 0)  # 4 points more
    assert many.verdict() is None
