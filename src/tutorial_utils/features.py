"""What is watched of a text, in bins, and how far chance takes a window of texts.

A window of traffic is as many counts, and its distance from the reference is a number between 0
and 1. How large that number becomes without any drift is not taken from a table, since overlapping
windows are looked at again and again: it is simulated, for the bins, the window and the size of
the reference at hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tutorial_utils.errors import TutorialError

LENGTH, VOCABULARY, CONFIDENCE = "length", "vocabulary", "confidence"
LABELS, DISAGREEMENT = "labels", "disagreement"
ORDERED, SHARES, RATE = "ordered", "shares", "rate"  # kinds of features: what distance means
BINS = 16  # of an ordered feature, about equally full
_STREAMS, _LENGTH = 200, 5_000  # what the limits are simulated on: streams, texts of each


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

    def calibrated(self, texts: int | None, window: int, every: int, per_window: float):
        """The same with the distance that chance exceeds in a share ``per_window`` of the windows.

        texts: how many the shares come from; each simulated stream has a reference of its own,
        drawn anew, since a small reference is off by chance too. None: the shares are exact.
        """
        rng = np.random.default_rng(0)
        p = self.shares / self.shares.sum()
        steps, looks = max(_LENGTH, window) // every, window // every
        drawn = rng.multinomial(every, p, size=(_STREAMS, steps + looks)).astype(np.int32)
        summed = np.cumsum(drawn, axis=1)
        windows = summed[:, looks:] - summed[:, :-looks]
        shares = None
        if texts is not None:
            shares = rng.multinomial(texts, p, size=(_STREAMS, 1)) / texts
        far = self.distance(windows, shares)
        worst = far[:, : steps // looks * looks].reshape(_STREAMS, -1, looks).max(axis=-1)
        limit = float(np.quantile(worst, 1 - per_window, method="higher"))
        return Feature(self.kind, self.shares, self.edges, limit)


def values_of(lengths, unknown, probabilities, task: str = "single_label") -> dict[str, np.ndarray]:
    """Feature → a number for each text; a regression has no labels, and its value is the score.

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
        return values | {CONFIDENCE: scores[:, 0]}
    return values | {CONFIDENCE: scores.max(axis=1), LABELS: scores.argmax(axis=1)}


def unfamiliar(rows: Sequence[Sequence[int]], familiar: np.ndarray) -> np.ndarray:
    """Share of each row's ids that ``familiar`` (bool by id) does not hold, float64 (rows,)."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter((i for row in rows for i in row), np.int64, int(lengths.sum()))
    new = ids >= len(familiar)
    new[~new] = ~familiar[ids[~new]]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    summed = np.concatenate([[0], np.cumsum(new)])
    return (summed[ends[1:]] - summed[ends[:-1]]) / np.maximum(lengths, 1)
