"""The texts that candidates are tried on: the user's labelled ones, or random tokens."""

from dataclasses import dataclass

import numpy as np

from tutorial_utils import quality
from tutorial_utils.data.labelled import Labelled
from tutorial_utils.models.classifiers import Classifier

Rows = tuple[tuple[int, ...], ...]  # token ids of each text
WITHOUT_DATA = 256  # rows of random tokens that agreement is measured on


@dataclass(frozen=True)
class Texts:
    """Texts in a random order. A quarter of them chooses among candidates, the others judge.

    rows: token ids of each text. texts, labels: None where the rows are random tokens.
    spread: of a regression, the standard deviation of each target's labels; else None.
    """

    rows: Rows
    texts: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    spread: tuple[float, ...] | None = None

    @classmethod
    def of(cls, classifier: Classifier, data: Labelled | None, most: int = 4_000) -> "Texts":
        """At most ``most`` texts of ``data`` in a seeded random order; without it random rows."""
        generator = np.random.default_rng(0)
        if data is None:
            longest = min(128, classifier.max_length)
            lengths = generator.integers(4, longest, WITHOUT_DATA, endpoint=True)
            drawn = (classifier.random_rows(1, n, seed)[0] for seed, n in enumerate(lengths))
            return cls(tuple(map(tuple, drawn)))
        order = generator.permutation(len(data))[:most]
        texts = tuple(data.texts[i] for i in order)
        rows = tuple(map(tuple, classifier.encode(texts)))
        spread = quality.spread_of(data.labels) if classifier.task == "regression" else None
        return cls(rows, texts, data.labels[order], spread)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def choosing(self) -> np.ndarray:
        """Indices of the texts that candidates are chosen by."""
        return np.arange(len(self) // 4)

    @property
    def judging(self) -> np.ndarray:
        """Indices of the texts that the gate judges by; no choice has seen them."""
        return np.arange(len(self) // 4, len(self))
