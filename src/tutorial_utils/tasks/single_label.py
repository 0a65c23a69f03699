"""One of several labels: the likeliest one is the answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutorial_utils import quality
from tutorial_utils.quality import Quality
from tutorial_utils.tasks.task import (
    CONFIDENCE,
    LABELS,
    Known,
    Spread,
    Task,
    Truth,
    find,
    is_known,
    word,
)


class SingleLabel(Task):
    """Answers are probabilities (n, labels) that add up to 1."""

    name = "single_label"
    answer = "one of several labels"

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        return quality.softmax(outputs)

    def label(self, given: Any, known: Known, width: int) -> Any:
        values = given if isinstance(given, list) else [given]
        parts = word(given).split("|")
        several = len(parts) > 1 and all(is_known(part, known) for part in parts)
        if len(values) != 1 or (several and not is_known(values[0], known)):
            raise ValueError(
                f"label {given!r} is not one label, but this model gives one label per text. For "
                "several, set `problem_type` to multi_label_classification in config.json"
            )
        return find(values[0], known)

    def evaluate(self, found: np.ndarray, reference: np.ndarray, truth: Truth) -> Quality:
        ours, theirs = found.argmax(axis=1), reference.argmax(axis=1)
        return quality.evaluate(ours, truth.labels, theirs, classes=found.shape[1])

    def tell(self, answer: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        by_label = dict(zip(names, answer.tolist(), strict=True))
        label = max(by_label, key=by_label.__getitem__)
        return {"label": label, "probability": by_label[label], "probabilities": by_label}

    def tensors(self, answers: np.ndarray, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"label": np.array(names)[answers.argmax(axis=1)], "probabilities": answers}

    def watched(self, answers: np.ndarray) -> Mapping[str, np.ndarray]:
        return {CONFIDENCE: answers.max(axis=1), LABELS: answers.argmax(axis=1)}

    def categories(self, width: int) -> Mapping[str, int]:
        return {LABELS: width}

    def _same(self, found: np.ndarray, reference: np.ndarray, spread: Spread) -> np.ndarray:
        return found.argmax(axis=1) == reference.argmax(axis=1)
