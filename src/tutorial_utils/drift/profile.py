"""Reference profile: histograms of the normal traffic of a version. It contains no text."""

import base64
import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from tokenizers import Tokenizer

from tutorial_utils.drift import statistics
from tutorial_utils.drift.limits import calibrated, least_per_window
from tutorial_utils.drift.statistics import BadProfile, Feature
from tutorial_utils.runtime import batching, tokenization
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import named
from tutorial_utils.tasks.task import LABELS

__all__ = ["LEAST", "TOLERATED", "BadProfile", "Feature", "Profile", "of_model", "unknown_ids"]

LEAST = 200  # texts; fewer say too little about normal traffic
TOLERATED = 0.02  # share of texts that INT8 may answer differently from fp32, if not measured


@dataclass(frozen=True)
class Profile:
    """Features of the texts that a version was made for, each with its limit.

    texts: size of the reference. window: number of texts that are compared with it. every: texts
    between two checks. false_alarms: expected number for 10,000 texts without drift, all features
    together. familiar: bool (token ids,), the tokens in the reference; None: unknown.
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
        familiar: np.ndarray | None = None,
    ) -> "Profile":
        """The profile of reference texts that the model was not trained on.

        lengths: tokens of each text. unknown: share of its tokens that are unfamiliar.
        probabilities: the model's answers, (texts, labels). disagreement: share of texts that this
        version may answer differently from the one that it is compared with in shadow (see
        ``Task.same``).

        Raises:
            BadProfile: fewer than ``LEAST`` texts, arrays of different lengths, a window that is
                not a multiple of ``every``, or a number out of its range.
        """
        values = statistics.values_of(lengths, unknown, probabilities, task)
        texts = len(values[statistics.LENGTH])
        if texts < LEAST:
            raise BadProfile(f"A profile needs at least {LEAST} texts, not {texts}: give more.")
        if every < 1 or window < every or window % every:
            raise BadProfile(f"The window ({window}) must be a multiple of every ({every}).")
        if not 0 < disagreement < 1:
            raise BadProfile(f"disagreement is a share between 0 and 1, not {disagreement}.")
        found = {n: Feature.ordered(v) for n, v in values.items() if not n.startswith(LABELS)}
        for name, count in named(task).categories(np.shape(probabilities)[1]).items():
            counts = np.bincount(values[name], minlength=count)
            # Rule of succession: if no text of a few hundred has a label, some text still may.
            shares = counts / texts if name == LABELS else (counts + 1) / (texts + count)
            found[name] = Feature(statistics.SHARES, shares)
        # All features together: one alarm for 10,000 texts, or the fewest that can be simulated.
        # Each stretch as long as a window is one chance for an alarm to begin.
        windows = 10_000 / window * len(found)
        per_window = max(1 / windows, least_per_window(window))
        features = {n: calibrated(f, texts, window, every, per_window) for n, f in found.items()}
        rate = Feature(statistics.RATE, np.array([1 - disagreement, disagreement]))
        features[statistics.DISAGREEMENT] = calibrated(rate, None, window, every, per_window)
        return cls(features, texts, task, window, every, round(per_window * windows, 9), familiar)

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Sequence[int]],
        probabilities: np.ndarray,
        *,
        never: Collection[int] = (),
        **options,
    ) -> "Profile":
        """The profile of tokenized texts.

        never: ids that are never familiar, such as [UNK]. options: those of ``of``.

        A token of a reference text counts as familiar only if another one has it too. So its share
        of unfamiliar tokens is that of a new text.
        """
        size = 1 + max((max(row, default=0) for row in rows), default=0)
        seen_in = np.zeros(size, np.int64)
        for row in rows:
            seen_in[np.unique(np.asarray(row, np.int64))] += 1
        seen_in[[i for i in never if i < size]] = 0
        unknown = statistics.unfamiliar(rows, seen_in > 1)
        return cls.of(list(map(len, rows)), unknown, probabilities, familiar=seen_in > 0, **options)

    def unknown(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Share of each text's tokens that are unfamiliar; 0 if ``familiar`` is None."""
        if self.familiar is None:
            return np.zeros(len(rows))
        return statistics.unfamiliar(rows, self.familiar)

    def to_dict(self) -> dict:
        """The content of ``profile.json``."""
        features = {
            name: vars(f) | {"shares": f.shares.tolist(), "edges": f.edges.tolist()}
            for name, f in self.features.items()
        }
        kept = {k: getattr(self, k) for k in ("texts", "task", "window", "every", "false_alarms")}
        return kept | {"features": features, "familiar": _packed(self.familiar)}

    @classmethod
    def from_json(cls, text: str) -> "Profile":
        """Read what ``json.dumps(profile.to_dict())`` wrote.

        Raises:
            BadProfile: ``text`` is something else.
        """
        try:
            values = json.loads(text)
            features = {
                name: Feature(f["kind"], np.array(f["shares"]), np.array(f["edges"]), f["limit"])
                for name, f in values["features"].items()
            }
            familiar = _unpacked(values["familiar"])
            return cls(**(values | {"features": features, "familiar": familiar}))
        except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise BadProfile(f"the profile cannot be read: {type(error).__name__}") from error

    def __repr__(self) -> str:
        limits = ", ".join(f"{name} {f.limit:.3f}" for name, f in self.features.items())
        return f"Profile({self.texts:,} texts, windows of {self.window}; limits: {limits})"


def of_model(
    file: Path,
    recipe: Recipe,
    tokenizer: Path,
    texts: Sequence[Text],
    *,
    task: str = "single_label",
    **options,
) -> Profile:
    """The profile of ``texts``, tokenized and answered as in the service.

    tokenizer: its file. options: those of ``Profile.of``.
    """
    reader = tokenization.load(tokenizer, recipe.max_length)
    rows = tokenization.encode(reader, texts)
    batches = batching.by_tokens(list(map(len, rows)), recipe.token_budget)
    predict = onnx_predict(file, recipe.session)
    logits = batching.run(predict, rows, batches, padding=recipe.padding)
    probabilities = named(task).answers(logits)
    return Profile.of_rows(rows, probabilities, never=unknown_ids(reader), task=task, **options)


def unknown_ids(tokenizer: Tokenizer) -> set[int]:
    """Ids that the tokenizer uses for unknown text, so they are never familiar."""
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
