"""Drift statistics: binned features of texts, and how far chance takes a window from a reference.

A window of traffic is a histogram for each feature. Its distance from the reference is a number
between 0 and 1. How large that number becomes without any drift is simulated, for the bins, the
window and the size of the reference: a table would not do, since overlapping windows are looked at
again and again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from tutorial_utils import quality
from tutorial_utils.core.errors import TutorialError

LENGTH, VOCABULARY, CONFIDENCE = "length", "vocabulary", "confidence"
LABELS, DISAGREEMENT = "labels", "disagreement"
ORDERED, SHARES, RATE = "ordered", "shares", "rate"  # kinds of features: what distance means
BINS = 16  # of an ordered feature, about equally full
# What limits are simulated on: streams of texts, at least and at most, and texts of each.
_STREAMS, _MOST_STREAMS, _LENGTH = 200, 2_000, 5_000
_EXCEEDED = 10  # simulated windows beyond a limit at least; of fewer, chance would set the limit


class BadProfile(TutorialError, ValueError):
    """The reference is too small, its arrays do not fit, or a stored profile cannot be read."""


@dataclass(frozen=True)
class Feature:
    """One thing that is watched: the reference's shares of its bins, and the limit.

    kind: ``ordered``, distance is that of Kolmogorov and Smirnov between the binned values (so at
    most theirs between the values themselves); ``shares``, total variation, the share of texts
    that sit in another bin than in the reference; ``rate``, by how much the last bin's share has
    grown. edges: upper ends of all bins but the last; empty where values are bins already.
    """

    kind: str
    shares: np.ndarray  # float64 (bins,), sum 1
    edges: np.ndarray = field(default_factory=lambda: np.empty(0))
    limit: float = math.inf

    @classmethod
    def ordered(cls, values: np.ndarray) -> "Feature":
        """Bins about equally full; what lies outside all values of the reference has two more."""
        inner = np.quantile(values, np.linspace(0, 1, BINS + 1), method="inverted_cdf")
        edges = np.unique(np.append(inner, np.nextafter(inner[0], -np.inf)))
        counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
        return cls(ORDERED, counts / len(values), edges)

    def bins(self, values: np.ndarray) -> np.ndarray:
        """Bin of each value, int (n,)."""
        return np.searchsorted(self.edges, values) if self.kind == ORDERED else values.astype(int)

    def distance(self, counts: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
        """Between 0 and 1, of counts (…, bins) from the reference's shares, or from others."""
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
        """The same with the distance that chance exceeds in a share ``per_window`` of the windows.

        texts: size of the reference. A small reference is off by chance too, so each simulated
        window is compared with a reference drawn anew. None: the shares are exact.

        Raises:
            BadProfile: ``per_window`` is below ``least_per_window``.
        """
        least = least_per_window(window)
        if per_window < least * (1 - 1e-9):
            raise BadProfile(
                f"A limit that a share {per_window:g} of the windows exceeds is too rare to be "
                f"simulated: with windows of {window} texts, give {least:g} or more."
            )
        streams = max(_STREAMS, math.ceil(_EXCEEDED / (per_window * _windows(window)) - 1e-6))
        rng = np.random.default_rng(0)
        worst = [
            self._largest(rng, min(_STREAMS, streams - start), texts, window, every)
            for start in range(0, streams, _STREAMS)
        ]
        limit = float(np.quantile(np.concatenate(worst), 1 - per_window, method="higher"))
        return Feature(self.kind, self.shares, self.edges, limit)

    def _largest(
        self, rng: np.random.Generator, streams: int, texts: int | None, window: int, every: int
    ) -> np.ndarray:
        """Largest distance over each stretch of ``window`` texts without drift, (stretches,)."""
        p = self.shares / self.shares.sum()
        looks, stretches = window // every, _windows(window)
        drawn = rng.multinomial(every, p, size=(streams, (stretches + 1) * looks)).astype(np.int32)
        summed = np.cumsum(drawn, axis=1)
        windows = summed[:, looks:] - summed[:, :-looks]
        windows = windows.reshape(streams, stretches, looks, len(p))
        shares = None
        if texts is not None:
            shares = rng.multinomial(texts, p, size=(streams, stretches, 1)) / texts
        return self.distance(windows, shares).max(axis=-1).ravel()


def least_per_window(window: int) -> float:
    """The smallest share of the windows that a simulated limit can keep its word on."""
    return _EXCEEDED / (_MOST_STREAMS * _windows(window))


def _windows(window: int) -> int:
    """Windows side by side in one simulated stream."""
    return max(1, _LENGTH // window)


def values_of(
    lengths: ArrayLike, unknown: ArrayLike, probabilities: ArrayLike, task: str = "single_label"
) -> dict[str, np.ndarray]:
    """Feature → a number for each text, (n,).

    Single label: ``LABELS`` is the answer. Several labels: ``labels_i`` is 1 where label i holds;
    ``LABELS``, the likeliest one, is what older profiles watch. Regression: ``CONFIDENCE`` is the
    value of the first target, ``confidence_i`` that of each other target i.

    Raises:
        BadProfile: the arrays are not of one length, or hold what is no number.
    """
    lengths, unknown = np.asarray(lengths, float), np.asarray(unknown, float)
    scores = np.asarray(probabilities, float)
    if scores.ndim != 2 or not len(lengths) == len(unknown) == len(scores):
        raise BadProfile(
            f"There must be a length, an unknown share and a row of probabilities for each text, "
            f"not {lengths.shape}, {unknown.shape} and {scores.shape}."
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
    """Share of each row's ids that ``familiar`` (bool by id) does not hold, float64 (rows,)."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter((i for row in rows for i in row), np.int64, int(lengths.sum()))
    new = ids >= len(familiar)
    new[~new] = ~familiar[ids[~new]]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    summed = np.concatenate([[0], np.cumsum(new)])
    return (summed[ends[1:]] - summed[ends[:-1]]) / np.maximum(lengths, 1)
