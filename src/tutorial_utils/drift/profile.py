"""Reference profile: what normal traffic looks like to a version, as histograms, never a text."""

import base64
import json
import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from tokenizers import Tokenizer

from tutorial_utils import quality
from tutorial_utils.drift.statistics import (
    DISAGREEMENT,
    LABELS,
    LENGTH,
    RATE,
    SHARES,
    BadProfile,
    Feature,
    least_per_window,
    unfamiliar,
    values_of,
)
from tutorial_utils.runtime import batching, tokenization
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.runtime.recipe import Recipe

__all__ = ["LEAST", "TOLERATED", "BadProfile", "Feature", "Profile", "of_model", "unknown_ids"]

LEAST = 200  # texts; fewer say too little of what is normal
TOLERATED = 0.02  # share of texts that INT8 may answer otherwise than fp32, if none was measured


@dataclass(frozen=True)
class Profile:
    """Features of the texts that a version was made for, each with its limit.

    window: texts that are compared with the reference; every: texts between two looks.
    false_alarms: expected on 10,000 texts without drift, of all features together; the smallest
    number that the limits can be simulated for is about 0.04.
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
        lengths: ArrayLike,
        unknown: ArrayLike,
        probabilities: np.ndarray,
        *,
        task: str = "single_label",
        disagreement: float = TOLERATED,
        window: int = 250,
        every: int = 10,
        false_alarms: float | None = None,
        familiar: np.ndarray | None = None,
    ) -> "Profile":
        """The profile of reference texts, which the model must not have been trained on.

        lengths: tokens of each text. unknown: share of its tokens that are unfamiliar.
        probabilities: what the model answers, (texts, labels). disagreement: share of texts
        that this version may answer otherwise than the one it is compared with in shadow (see
        ``quality.agrees``). false_alarms: 1 by default, or more where there are so many labels that
        no limits can be simulated for 1.

        Raises:
            BadProfile: fewer than ``LEAST`` texts, arrays of different lengths, a window that is
                no multiple of ``every``, a number out of its range, or ``false_alarms`` so rare
                that no limit can be simulated for it.
        """
        values = values_of(lengths, unknown, probabilities, task)
        texts = len(values[LENGTH])
        if texts < LEAST:
            raise BadProfile(f"A profile needs at least {LEAST} texts, not {texts}: give more.")
        if every < 1 or window < every or window % every:
            raise BadProfile(f"The window ({window}) must be a multiple of every ({every}).")
        if not 0 < disagreement < 1:
            raise BadProfile(f"disagreement is a share between 0 and 1, not {disagreement}.")
        found = {n: Feature.ordered(v) for n, v in values.items() if not n.startswith(LABELS)}
        if task == "single_label":
            counts = np.bincount(values[LABELS], minlength=np.shape(probabilities)[1])
            found[LABELS] = Feature(SHARES, counts / texts)
        elif task == "multi_label":
            for name in (n for n in values if n.startswith(LABELS) and n != LABELS):
                # As if it held for one text more and not for another: that no text of a few
                # hundred has a label does not mean that none ever will.
                held = (values[name].sum() + 1) / (texts + 2)
                found[name] = Feature(SHARES, np.array([1 - held, held]))
        least = least_per_window(window) * len(found) * 10_000 / window
        if false_alarms is None:
            false_alarms = max(1.0, least)
        # The largest distance within a window's length is one chance for an alarm to begin.
        per_window = false_alarms / len(found) * window / 10_000
        if not 0 < per_window < 1:
            raise BadProfile(
                f"With windows of {window} texts, false_alarms on 10,000 lies between 0 and "
                f"{len(found) * 10_000 / window:g}, not at {false_alarms}."
            )
        if false_alarms < least * (1 - 1e-9):
            raise BadProfile(
                f"false_alarms={false_alarms:g} on 10,000 texts is too rare to be simulated. With "
                f"windows of {window} texts, give {math.ceil(least * 1000) / 1000:g} or more."
            )
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


def of_model(
    file: Path,
    recipe: Recipe,
    tokenizer: Path,
    texts: Sequence[str],
    *,
    task: str = "single_label",
    **options,
) -> Profile:
    """The profile of ``texts``, read and answered as a service does; options: ``Profile.of``."""
    reader = tokenization.load(tokenizer, recipe.max_length)
    rows = tokenization.encode(reader, texts)
    batches = batching.by_tokens(list(map(len, rows)), recipe.token_budget)
    predict = onnx_predict(file, recipe.session)
    logits = batching.run(predict, rows, batches, padding=recipe.padding)
    probabilities = quality.probabilities(logits, task)
    return Profile.of_rows(rows, probabilities, never=unknown_ids(reader), task=task, **options)


def unknown_ids(tokenizer: Tokenizer) -> set[int]:
    """What stands in a row where the tokenizer had no token: familiar to nobody."""
    found = (tokenizer.token_to_id(token) for token in ("[UNK]", "<unk>"))
    return {token for token in found if token is not None}


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
