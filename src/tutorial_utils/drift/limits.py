"""The limits of drift detection: how far a window gets from the reference without drift.

A simulation finds them, for the bins of a feature, this window and this size of the reference.
Tables of critical values do not apply, because overlapping windows are checked again and again.
"""

import math
from dataclasses import replace

import numpy as np

from tutorial_utils.drift.statistics import BadProfile, Feature

# Of a simulation: fewest and most streams, and texts of each stream.
_STREAMS, _MOST_STREAMS, _LENGTH = 200, 2_000, 5_000
_EXCEEDED = 10  # fewest simulated windows beyond a limit; with fewer, the limit would be noise


def calibrated(
    feature: Feature, texts: int | None, window: int, every: int, per_window: float
) -> Feature:
    """The feature with a limit that, without drift, a share ``per_window`` of windows exceeds.

    texts: size of the reference. A small reference is inexact too, so each simulated window is
    compared with a newly drawn reference. None: the shares are exact. window: number of texts that
    are compared; every: texts between two checks.

    Raises:
        BadProfile: ``per_window`` is below ``least_per_window``, or not below 1.
    """
    least = least_per_window(window)
    if not least * (1 - 1e-9) <= per_window < 1:
        raise BadProfile(
            f"The simulation cannot find a limit that a share of {per_window:g} of the windows "
            f"exceeds. With windows of {window} texts, give a share of {least:g} or more, below 1."
        )
    streams = max(_STREAMS, math.ceil(_EXCEEDED / (per_window * _windows(window)) - 1e-6))
    rng = np.random.default_rng(0)
    worst = [
        _largest(feature, rng, min(_STREAMS, streams - start), texts, window, every)
        for start in range(0, streams, _STREAMS)
    ]
    limit = float(np.quantile(np.concatenate(worst), 1 - per_window, method="higher"))
    return replace(feature, limit=limit)


def least_per_window(window: int) -> float:
    """The smallest share of windows beyond a limit for which the limit can be simulated."""
    return _EXCEEDED / (_MOST_STREAMS * _windows(window))


def _largest(
    feature: Feature, rng: np.random.Generator, streams: int, texts: int | None,
    window: int, every: int,
) -> np.ndarray:  # fmt: skip
    """Largest distance in each stretch of ``window`` texts without drift, (stretches,)."""
    p = feature.shares / feature.shares.sum()
    checks, stretches = window // every, _windows(window)
    drawn = rng.multinomial(every, p, size=(streams, (stretches + 1) * checks)).astype(np.int32)
    summed = np.cumsum(drawn, axis=1)
    windows = summed[:, checks:] - summed[:, :-checks]
    windows = windows.reshape(streams, stretches, checks, len(p))
    shares = None
    if texts is not None:
        shares = rng.multinomial(texts, p, size=(streams, stretches, 1)) / texts
    return feature.distance(windows, shares).max(axis=-1).ravel()


def _windows(window: int) -> int:
    """Windows in one simulated stream, not overlapping."""
    return max(1, _LENGTH // window)
