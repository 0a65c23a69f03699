"""Drift statistics: features of texts in bins, and distances between histograms.

A window of traffic is a histogram for each feature. Its distance from the reference is a number
between 0 and 1; ``limits`` finds how large it becomes without drift.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.tasks import named

LENGTH, VOCABULARY, DISAGREEMENT = "length", "vocabulary", "disagreement"
ORDERED, SHARES, RATE = "ordered", "shares", "rate"  # kinds of features, see ``Feature``
BINS = 16  # of an ordered feature, about equally full


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


def values_of(
    lengths: ArrayLike, unknown: ArrayLike, probabilities: ArrayLike, task: str = "single_label"
) -> dict[str, np.ndarray]:
    """Feature → a number for each text, (n,): length, vocabulary, and what the task watches.

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
    return {LENGTH: lengths, VOCABULARY: unknown, **named(task).watched(scores)}


def unfamiliar(rows: Sequence[Sequence[int]], familiar: np.ndarray) -> np.ndarray:
    """Share of each row's ids that are not ``familiar`` (bool by id), float64 (rows,)."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    new = np.append(~familiar, True)[np.minimum(ids, len(familiar))]
    row = np.repeat(np.arange(len(rows)), lengths)
    return np.bincount(row, new, len(rows)) / np.maximum(lengths, 1)
