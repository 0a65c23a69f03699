"""Intervals over rounds: exact cases, and coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tutorial_utils.bench.intervals import Ratio

SPREADS = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "Student's t, 3 degrees of freedom": lambda draw, shape: draw.standard_t(3, size=shape),
    "Laplace": lambda draw, shape: draw.laplace(size=shape),
    "one value in ten is five times as large": lambda draw, shape: (
        draw.normal(size=shape) * np.where(draw.random(shape) < 0.1, 5, 1)
    ),
}


@pytest.mark.parametrize("rounds", [3, 5, 7, 11])
@pytest.mark.parametrize("spread", SPREADS)
def test_at_least_93_percent_of_intervals_contain_the_true_ratio(spread, rounds):
    noise = 0.03 * SPREADS[spread](np.random.default_rng(0), (2_000, rounds))
    found = [Ratio.of_rounds(row, np.ones(rounds)) for row in np.exp(noise)]
    assert np.mean([r.low <= 1 <= r.high for r in found]) >= 0.93


def test_the_interval_is_no_wider_than_students_t_of_99_percent():
    logs = np.array([0.10, 0.14, 0.09, 0.13, 0.12])
    ratio = Ratio.of_rounds(np.exp(logs), np.ones(5))
    for level, wider in ((0.95, True), (0.99, False)):
        low, high = np.exp(stats.t.interval(level, 4, logs.mean(), stats.sem(logs)))
        assert (ratio.low < low) == wider
        assert (ratio.high > high) == wider


@given(st.lists(st.floats(0.9, 1.1), min_size=3, max_size=9), st.floats(0.2, 5))
def test_noise_that_both_candidates_share_in_a_round_cancels(noise, factor):
    reference = [10 * n for n in noise]
    ratio = Ratio.of_rounds([factor * t for t in reference], reference)
    assert [ratio.ratio, ratio.low, ratio.high] == pytest.approx([factor] * 3)


def test_noise_as_large_as_the_difference_gives_no_verdict():
    ratio = Ratio.of_rounds((10.0, 9.0, 11.5, 10.2, 9.4), (9.5, 10.5, 9.8, 10.0, 10.4))
    assert ratio.low < 1 < ratio.high
    assert ratio.word == "no measurable difference"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.90, 0.96, "faster"),
        (0.90, 0.98, "no measurable difference"),
        (1.02, 1.10, "no measurable difference"),
        (1.04, 1.10, "slower"),
    ],
)
def test_a_verdict_needs_the_whole_interval(low, high, word):
    assert Ratio((low * high) ** 0.5, low, high).word == word


@given(st.floats(1e-300, 1e3))
def test_a_printed_ratio_is_never_zero_and_has_at_least_two_significant_digits(ratio):
    shown = Ratio(ratio, ratio, ratio)
    (printed,) = {shown.cell.split()[0], str(shown).split()[0], shown.interval[1:].split(",")[0]}
    assert float(printed) == pytest.approx(ratio, rel=0.0501)


@pytest.mark.parametrize(
    ("ratio", "printed"),
    [(0.0, "0.00"), (0.00094, "0.00094"), (0.0996, "0.10"), (0.03, "0.030"), (1.234, "1.23")],
)
def test_small_ratios_have_two_significant_digits(ratio, printed):
    assert Ratio(ratio, ratio, ratio).cell == f"{printed} [{printed}, {printed}]"


def test_the_inverse_swaps_the_ends():
    assert Ratio(0.5, 0.4, 0.625).inverse() == Ratio(2.0, 1.6, 2.5)


@pytest.mark.parametrize(
    ("times", "reference"), [([], []), ([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0], [1.0, 2.0])]
)
def test_too_few_or_unequal_rounds_are_refused(times, reference):
    with pytest.raises(ValueError, match="at least two rounds"):
        Ratio.of_rounds(times, reference)
