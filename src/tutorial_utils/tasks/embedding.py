"""A vector for each text, whose direction carries the meaning: search, clustering, retrieval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutorial_utils import quality
from tutorial_utils.quality import Quality
from tutorial_utils.tasks.task import Close, Known, Spread, Task, Truth, number

SAME_DIRECTION = 0.97  # cosine from which two vectors are the same answer
NEIGHBOURS = 10


class Embedding(Task):
    """Answers are vectors (n, width), of length 1 if the model normalizes them.

    A label is how similar the two texts of a pair are. Each text of a pair has a vector of its own,
    so the rows of a pair follow each other, and both bear its label.
    """

    name = "embedding"
    answer = "a vector for each text"
    output = "embedding"
    route = "/embed"
    labels_are_names = False
    needs_labels = False

    def label(self, given: Any, known: Known, width: int) -> Any:
        return number(given, known)

    def evaluate(self, found: np.ndarray, reference: np.ndarray, truth: Truth) -> Quality:
        ours, theirs = (quality.cosine(v[::2], v[1::2]) for v in (found, reference))
        return quality.evaluate_order(ours, truth.labels[::2], theirs)

    def nearness(self, found: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return quality.cosine(found, reference)

    def closeness(
        self, found: np.ndarray, reference: np.ndarray, spread: Spread = None
    ) -> tuple[Close, ...]:
        cosines = quality.cosine(found, reference)
        common = quality.common_neighbours(found, reference, NEIGHBOURS)
        return (
            Close("mean cosine", float(cosines.mean()), 0.99),
            Close("5th percentile of the cosine", float(np.percentile(cosines, 5)), 0.97),
            Close(f"share of the {NEIGHBOURS} nearest texts in common", common, 0.8),
        )

    def tell(self, answer: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        return {"embedding": answer.tolist()}

    def tensors(self, answers: np.ndarray, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"embedding": answers}

    def watched(self, answers: np.ndarray) -> Mapping[str, np.ndarray]:
        return {}

    def _same(self, found: np.ndarray, reference: np.ndarray, spread: Spread) -> np.ndarray:
        return quality.cosine(found, reference) >= SAME_DIRECTION
