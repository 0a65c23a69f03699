"""Any number of labels: each one holds or not."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tutorial_utils import quality
from tutorial_utils.quality import Quality
from tutorial_utils.tasks.single_label import SingleLabel
from tutorial_utils.tasks.task import LABELS, Known, Spread, Truth, find, is_known, several, word

THRESHOLD = 0.5  # probability above which a label holds


class MultiLabel(SingleLabel):
    """Answers are probabilities (n, labels), each by itself. Callers are told as of one label."""

    name = "multi_label"
    answer = "any number of labels"

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        return quality.sigmoid(outputs)

    def label(self, given: Any, known: Known, width: int) -> Any:
        words = [told for value in several(given, known) if (told := word(value))]
        if len(set(words)) < len(words):
            raise ValueError(
                f"{given!r} holds a label twice. Give the names or numbers of the labels that "
                "apply, not 0 or 1 for each"
            )
        for one in words:
            parts = re.split(r"\s*[,;/]\s*|\s+", one)
            if not is_known(one, known) and all(is_known(part, known) for part in parts):
                raise ValueError(f"label {given!r}: several labels are separated by |, as in a|b")
        found = {find(one, known) for one in words}
        return [int(i in found) for i in range(width)]

    def evaluate(self, found: np.ndarray, reference: np.ndarray, truth: Truth) -> Quality:
        return quality.evaluate(holds(found), truth.labels, holds(reference))

    def watched(self, answers: np.ndarray) -> Mapping[str, np.ndarray]:
        each = {f"{LABELS}_{i}": column for i, column in enumerate(holds(answers).T)}
        # Older profiles watch the likeliest label.
        return {**super().watched(answers), **each}

    def categories(self, width: int) -> Mapping[str, int]:
        return {f"{LABELS}_{i}": 2 for i in range(width)}

    def _same(self, found: np.ndarray, reference: np.ndarray, spread: Spread) -> np.ndarray:
        return (holds(found) == holds(reference)).all(axis=1)


def holds(probabilities: np.ndarray) -> np.ndarray:
    """Which labels hold, 0 or 1, int64 (n, labels)."""
    return (probabilities > THRESHOLD).astype(np.int64)
