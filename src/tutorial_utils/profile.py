"""What normal traffic looks like to a version: distributions, and how far chance takes a window.

A profile holds shares and limits, never a text. Each feature of a text is sorted into bins of the
reference; a window of traffic is as many counts, and its distance from the reference is a number
between 0 and 1. How large that number becomes without any drift is not taken from a table, since
overlapping windows are looked at again and again: it is simulated, for the bins, the window and
the size of the reference at hand.
"""

import base64
import json
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

LENGTH, VOCABULARY, CONFIDENCE = "length", "vocabulary", "confidence"
LABELS, DISAGREEMENT = "labels", "disagreement"
ORDERED, SHARES, RATE = "ordered", "shares", "rate"  # kinds of features: what distance means
BINS = 16  # of an ordered feature, about equally full
LEAST = 200  # texts; fewer say too little of what is normal
TOLERATED = 0.02  # share of texts that INT8 may label otherwise than fp32, where none was measured
_STREAMS, _LENGTH = 200, 5_000  # what the limits are simulated on: streams, texts of each


class BadProfile(ValueError):
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
        steps, looks = _LENGTH // every, window // every
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


@dataclass(frozen=True)
class Profile:
    """Features of the texts that a version was made for, each with its limit.

    window: texts that are compared with the reference; every: texts between two looks.
    false_alarms: expected on 10,000 texts without drift, of all features together.
    familiar: bool (token ids,), tokens that the reference has; None: not known.
    """

    features: Mapping[str, Feature]
    texts: int
    task: str = "single_label"
    window: int = 250
    every: int = 10
    false_alarms: float = 1.0
    familiar: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        lengths: Sequence[int],
        unknown: Sequence[float],
        probabilities: np.ndarray,
        *,
        task: str = "single_label",
        disagreement: float = TOLERATED,
        window: int = 250,
        every: int = 10,
        false_alarms: float = 1.0,
        familiar: np.ndarray | None = None,
    ) -> "Profile":
        """The profile of reference texts, which the model must not have been trained on.

        lengths: tokens of each text. unknown: share of its tokens that are unfamiliar.
        probabilities: what the model answers, (texts, labels). disagreement: share of texts
        that this version may label otherwise than the one it is compared with in shadow.

        Raises:
            BadProfile: fewer than ``LEAST`` texts, arrays of different lengths, or a window that
                is no multiple of ``every``.
        """
        values = values_of(lengths, unknown, probabilities, task)
        texts = len(values[LENGTH])
        if texts < LEAST:
            raise BadProfile(f"A profile needs at least {LEAST} texts, not {texts}: give more.")
        if every < 1 or window < every or window % every:
            raise BadProfile(f"The window ({window}) must be a multiple of every ({every}).")
        if not 0 < disagreement < 1:
            raise BadProfile(f"disagreement is a share between 0 and 1, not {disagreement}.")
        found = {n: Feature.ordered(v) for n, v in values.items() if n != LABELS}
        if LABELS in values:
            counts = np.bincount(values[LABELS], minlength=np.shape(probabilities)[1])
            found[LABELS] = Feature(SHARES, counts / texts)
        # The largest distance within a window's length is one chance for an alarm to begin.
        per_window = false_alarms / len(found) * window / 10_000
        features = {n: f.calibrated(texts, window, every, per_window) for n, f in found.items()}
        rate = Feature(RATE, np.array([1 - disagreement, disagreement]))
        features[DISAGREEMENT] = rate.calibrated(None, window, every, per_window)
        return cls(features, texts, task, window, every, false_alarms, familiar)

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Sequence[int]],
        probabilities: np.ndarray,
        *,
        never: Collection[int] = (),
        **options,
    ) -> "Profile":
        """The profile of tokenized texts; ``never``: ids that no text makes familiar, as [UNK].

        A reference text finds familiar what another one has: so its share of unfamiliar tokens is
        that of a text not seen before. options: as for ``of``.
        """
        size = 1 + max((max(row, default=0) for row in rows), default=0)
        seen_in = np.zeros(size, np.int64)
        for row in rows:
            seen_in[np.unique(np.asarray(row, np.int64))] += 1
        seen_in[[i for i in never if i < size]] = 0
        unknown = unfamiliar(rows, seen_in > 1)
        return cls.of(list(map(len, rows)), unknown, probabilities, familiar=seen_in > 0, **options)

    def unknown(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Share of each text's tokens that are unfamiliar; 0 where the profile knows none."""
        return np.zeros(len(rows)) if self.familiar is None else unfamiliar(rows, self.familiar)

    def to_dict(self) -> dict:
        """For ``profile.json``."""
        features = {
            name: {
                "kind": f.kind,
                "limit": f.limit,
                "shares": f.shares.tolist(),
                "edges": f.edges.tolist(),
            }
            for name, f in self.features.items()
        }
        kept = {k: getattr(self, k) for k in ("texts", "task", "window", "every", "false_alarms")}
        return kept | {"features": features, "familiar": _packed(self.familiar)}

    @classmethod
    def from_dict(cls, values: dict) -> "Profile":
        """Raises BadProfile: these are not the values of ``to_dict``."""
        try:
            features = {
                name: Feature(f["kind"], np.array(f["shares"]), np.array(f["edges"]), f["limit"])
                for name, f in values["features"].items()
            }
            familiar = _unpacked(values["familiar"])
            return cls(**(values | {"features": features, "familiar": familiar}))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise BadProfile(f"the profile cannot be read: {type(error).__name__}") from error

    @classmethod
    def from_json(cls, text: str) -> "Profile":
        """Raises BadProfile: this is not what ``json.dumps(profile.to_dict())`` gave."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise BadProfile("the profile is not JSON") from error
        return cls.from_dict(values)

    def __repr__(self) -> str:
        limits = ", ".join(f"{name} {f.limit:.3f}" for name, f in self.features.items())
        return f"Profile({self.texts:,} texts, windows of {self.window}; limits: {limits})"


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


def _packed(familiar: np.ndarray | None) -> dict | None:
    if familiar is None:
        return None
    bits = base64.b64encode(zlib.compress(np.packbits(familiar).tobytes(), 9))
    return {"size": len(familiar), "bits": bits.decode()}


def _unpacked(values: dict | None) -> np.ndarray | None:
    if values is None:
        return None
    raw = np.frombuffer(zlib.decompress(base64.b64decode(values["bits"])), np.uint8)
    return np.unpackbits(raw, count=values["size"]).astype(bool)
