"""The texts that candidates are measured on: the user's labelled texts, or random tokens."""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from tutorial_utils.data.labelled import BadData, Labelled
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import Task, named

Rows = tuple[Sequence[int], ...]  # token ids of each text
WITHOUT_DATA = 256  # rows of random tokens if there are no texts


@dataclass(frozen=True)
class Texts:
    """Texts in random order. The first quarter is for choosing candidates, the rest for the gate.

    rows: token ids of each text or pair. texts, labels: None if the rows are random tokens.
    groups: the query that each text belongs to, where texts are ranked, or its pair, where each
    text of a pair has an answer of its own. reads: as in ``Manifest``.
    """

    rows: Rows
    texts: tuple[Text, ...] | None = None
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    reads: str = "text"

    @classmethod
    def of(cls, classifier: Classifier, data: Labelled | None, most: int = 4_000) -> "Texts":
        """At most ``most`` texts of ``data`` in a seeded random order; random rows without it."""
        generator = np.random.default_rng(0)
        if data is None:
            longest = min(128, classifier.max_length)
            lengths = generator.integers(4, longest, WITHOUT_DATA, endpoint=True)
            drawn = (classifier.random_rows(1, n, seed)[0] for seed, n in enumerate(lengths))
            return cls(tuple(drawn))
        if data.reads == "pair" and not named(classifier.task).needs_labels:
            data, most = _singly(data), 2 * (most // 2)
        order = _drawn(data, most, generator)
        texts = tuple(data.texts[i] for i in order)
        rows = tuple(classifier.encode(texts))
        if lost := [text for text, row in zip(texts, rows, strict=True) if not len(row)]:
            raise BadData(
                f"This model's tokenizer finds no token in {len(lost)} texts. Remove them from the "
                f"data; the first is {reprlib.repr(lost[0])}."
            )
        labels, groups = (None if a is None else a[order] for a in (data.labels, data.groups))
        return cls(rows, texts, labels, groups, data.reads)

    def __len__(self) -> int:
        return len(self.rows)

    def check(self, task: Task) -> None:
        """Raises BadData if the labels of the texts for the gate cannot tell good from bad."""
        if self.labels is None:
            return
        groups = None if self.groups is None else self.groups[self.judging]
        if constant := task.constant(self.labels[self.judging], groups):
            raise BadData(f"Of the texts for the gate, {constant}. Add texts of other labels.")

    @property
    def choosing(self) -> np.ndarray:
        """Indices of the texts for choosing candidates."""
        return np.arange(self._cut)

    @property
    def judging(self) -> np.ndarray:
        """Indices of the texts for the gate, which no choice has used."""
        return np.arange(self._cut, len(self))

    @property
    def _cut(self) -> int:
        """A quarter of the texts; the texts of a group stay together."""
        quarter = len(self) // 4
        if self.groups is None:
            return quarter
        return int(np.argmax(self.groups == self.groups[quarter]))


def _singly(data: Labelled) -> Labelled:
    """Pairs as single texts: those of a pair follow each other, and are a group."""
    labels = None if data.labels is None else data.labels.repeat(2)
    pairs = np.arange(len(data)).repeat(2)
    return replace(data, texts=tuple(chain(*data.texts)), labels=labels, groups=pairs)


def _drawn(data: Labelled, most: int, generator: np.random.Generator) -> np.ndarray:
    """At most ``most`` rows in random order; if there are groups, one after the other."""
    if data.groups is None:
        return generator.permutation(len(data))[:most]
    place = generator.permutation(data.groups.max() + 1)
    return np.argsort(place[data.groups], kind="stable")[:most]
