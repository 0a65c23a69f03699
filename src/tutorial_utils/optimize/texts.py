"""The texts that candidates are measured on: the user's labelled texts, or random tokens."""

from dataclasses import dataclass

import numpy as np

from tutorial_utils.data.labelled import Labelled
from tutorial_utils.models.classifiers import Classifier

Rows = tuple[tuple[int, ...], ...]  # token ids of each text
WITHOUT_DATA = 256  # rows of random tokens if there are no texts


@dataclass(frozen=True)
class Texts:
    """Texts in random order. The first quarter is for choosing candidates, the rest for the gate.

    rows: token ids of each text. texts, labels: None if the rows are random tokens.
    """

    rows: Rows
    texts: tuple[str, ...] | None = None
    labels: np.ndarray | None = None

    @classmethod
    def of(cls, classifier: Classifier, data: Labelled | None, most: int = 4_000) -> "Texts":
        """At most ``most`` texts of ``data`` in a seeded random order; random rows without it."""
        generator = np.random.default_rng(0)
        if data is None:
            longest = min(128, classifier.max_length)
            lengths = generator.integers(4, longest, WITHOUT_DATA, endpoint=True)
            drawn = (classifier.random_rows(1, n, seed)[0] for seed, n in enumerate(lengths))
            return cls(tuple(map(tuple, drawn)))
        order = generator.permutation(len(data))[:most]
        texts = tuple(data.texts[i] for i in order)
        return cls(tuple(map(tuple, classifier.encode(texts))), texts, data.labels[order])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def choosing(self) -> np.ndarray:
        """Indices of the texts for choosing candidates."""
        return np.arange(len(self) // 4)

    @property
    def judging(self) -> np.ndarray:
        """Indices of the texts for the gate, which no choice has used."""
        return np.arange(len(self) // 4, len(self))
