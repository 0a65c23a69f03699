"""Solutions to the exercises of 06_continuous_optimization."""

import math


def score_missed(difference, low, tolerance, certain):
    """The measured difference decides; with `certain`, the low end of its interval does."""
    if certain:
        return low < -tolerance
    return difference < -tolerance


def texts_needed(texts, half_width, wanted):
    """The half width falls with the square root of the number of texts."""
    ratio = half_width / wanted
    return math.ceil(texts * ratio * ratio)
