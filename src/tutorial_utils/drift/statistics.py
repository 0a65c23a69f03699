"""Drift statistics: features of texts in bins, distances between histograms, and their limits.

A window of traffic is a histogram for each feature. Its distance from the reference is a number
between 0 and 1. A simulation finds how large that number becomes without drift, for these bins,
this window and this size of the reference. Tables of critical values do not apply, because
overlapping windows are checked again and again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike

from tutorial_utils import quality
from tutorial_utils.core.errors import TutorialError

LENGTH, VOCABULARY, CONFIDENCE = "length", "vocabulary", "confidence"
LABELS, DISAGREEMENT = "labels", "disagreement"
ORDERED, SHARES, RATE = "ordered", "shares", "rate"  # kinds of features, see ``Feature``
BINS = 16  # of an ordered feature, about equally full
# The simulation of a limit: fewest and most streams, and texts of each stream.
_STREAMS, _MOST_STREAMS, _LENGTH = 200, 2_000, 5_000
_EXCEEDED = 10  # fewest simulated windows beyond a limit; with fewer, the limit would be noise


class BadProfile(TutorialError, ValueError):
    """The reference is too small, arrays do not match, or a stored profile cannot be read."""


@dataclass(frozen=True)
class Feature:
    """One property of texts that is watched: the reference's share of each bin, and the limit.

    kind: decides what the distance is. ``ordered``: the Kolmogorov-Smirnov statistic of the binned
    values, which is at most that of the values themselves. ``shares``: the total variation
    distance, the share of texts that moved to another bin. ``rate``: the increase of the last
    bin's share. edges: upper ends of all bins except the last; empty if values are bin numbers.
    """

    kind: str
    shares: np.ndarray  # float64 (bins,), sum 1
    edges: np.ndarray = field(default_factory=lambda: np.empty(0))
    limit: float = math.inf

    @classmethod
    def ordered(cls, values: np.ndarray) -> "Feature":
        """Bins about equally full, and one more on each side for values out of range."""
        inner = np.quantile(values, np.linspace(0, 1, BINS + 1), method="inverted_cdf")
        edges = np.unique(np.append(inner, np.nextafter(inner[0], -np.inf)))
        counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
        return cls(ORDERED, counts / len(values), edges)

    def bins(self, values: np.ndarray) -> np.ndarray:
        """Bin of each value, int (n,)."""
        return np.searchsorted(self.edges, values) if self.kind == ORDERED else values.astype(int)

    def distance(self, counts: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
        """Distance of counts (…, bins) from ``shares``, by default the reference's; 0 to 1."""
        shares = self.shares if shares is None else shares
        apart = counts / counts.sum(axis=-1, keepdims=True) - shares
        if self.kind == ORDERED:
            return np.abs(np.cumsum(apart, axis=-1)).max(axis=-1)
        if self.kind == SHARES:
            return np.abs(apart).sum(axis=-1) / 2
        return np.maximum(apart[..., -1], 0)

    def calibrated(
        self, texts: int | None, window: int, every: int, per_window: float
    ) -> "Feature":
        """This feature with a limit that, without drift, a share ``per_window`` of windows exceeds.

        texts: size of the reference. A small reference is inexact too, so each simulated window is
        compared with a newly drawn reference. None: the shares are exact.

        Raises:
            BadProfile: ``per_window`` is below ``least_per_window``, or not below 1.
        """
        least = least_per_window(window)
        if not least * (1 - 1e-9) <= per_window < 1:
            raise BadProfile(
                f"No limit can be simulated that a share {per_window:g} of the windows exceeds: "
                f"with windows of {window} texts, give {least:g} or more, below 1."
            )
        streams = max(_STREAMS, math.ceil(_EXCEEDED / (per_window * _windows(window)) - 1e-6))
        rng = np.random.default_rng(0)
        worst = [
            self._largest(rng, min(_STREAMS, streams - start), texts, window, every)
            for start in range(0, streams, _STREAMS)
        ]
        limit = float(np.quantile(np.concatenate(worst), 1 - per_window, method="higher"))
        return replace(self, limit=limit)

    def _largest(
        self, rng: np.random.Generator, streams: int, texts: int | None, window: int, every: int
    ) -> np.ndarray:
        """Largest distance in each stretch of ``window`` texts without drift, (stretches,)."""
        p = self.shares / self.shares.sum()
        checks, stretches = window // every, _windows(window)
        drawn = rng.multinomial(every, p, size=(streams, (stretches + 1) * checks)).astype(np.int32)
        summed = np.cumsum(drawn, axis=1)
        windows = summed[:, checks:] - summed[:, :-checks]
        windows = windows.reshape(streams, stretches, checks, len(p))
        shares = None
        if texts is not None:
            shares = rng.multinomial(texts, p, size=(streams, stretches, 1)) / texts
        return self.distance(windows, shares).max(axis=-1).ravel()


def least_per_window(window: int) -> float:
    """The smallest share of windows beyond a limit for which the limit can be simulated."""
    return _EXCEEDED / (_MOST_STREAMS * _windows(window))


def _windows(window: int) -> int:
    """Windows in one simulated stream, not overlapping."""
    return max(1, _LENGTH // window)


def values_of(
    lengths: ArrayLike, unknown: ArrayLike, probabilities: ArrayLike, task: str = "single_label"
) -> dict[str, np.ndarray]:
    """Feature → a number for each text, (n,).

    Single label: ``LABELS`` is the answer. Multi-label: ``labels_i`` is 1 if label i applies;
    ``LABELS`` is the most likely label, which older profiles watch. Regression: ``CONFIDENCE`` is
    the value of the first target, ``confidence_i`` that of each other target i.

    Raises:
        BadProfile: the arrays differ in length, or contain NaN or infinity.
    """
    lengths, unknown = np.asarray(lengths, float), np.asarray(unknown, float)
    scores = np.asarray(probabilities, float)
    if scores.ndim != 2 or not len(lengths) == len(unknown) == len(scores):
        raise BadProfile(
            f"Each text needs a length, a share of unknown tokens and a row of probabilities; the "
            f"shapes are {lengths.shape}, {unknown.shape} and {scores.shape}."
        )
    if not (np.isfinite(scores).all() and np.isfinite(unknown).all()):
        raise BadProfile("Probabilities and shares must be finite numbers.")
    values = {LENGTH: lengths, VOCABULARY: unknown}
    if task == "regression":
        others = {f"{CONFIDENCE}_{i}": column for i, column in enumerate(scores.T) if i}
        return values | {CONFIDENCE: scores[:, 0]} | others
    values |= {CONFIDENCE: scores.max(axis=1), LABELS: scores.argmax(axis=1)}
    if task == "multi_label":
        values |= {f"{LABELS}_{i}": c for i, c in enumerate(quality.decided(scores, task).T)}
    return values


def unfamiliar(rows: Sequence[Sequence[int]], familiar: np.ndarray) -> np.ndarray:
    """Share of each row's ids that are not ``familiar`` (bool by id), float64 (rows,)."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    new = np.append(~familiar, True)[np.minimum(ids, len(familiar))]
    row = np.repeat(np.arange(len(rows)), lengths)
    return np.bincount(row, new, len(rows)) / np.maximum(lengths, 1)
