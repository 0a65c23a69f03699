"""One score between 0 and 1, by a sigmoid: duplicates, relevance, rerankers.

That is what a single logit means to ``transformers.pipeline`` if the checkpoint names no problem
type.
"""

from typing import Any

import numpy as np

from tutorial_utils import quality
from tutorial_utils.quality import Quality
from tutorial_utils.tasks.multi_label import MultiLabel, holds
from tutorial_utils.tasks.task import Known, Truth, number


class Score(MultiLabel):
    """Answers are probabilities (n, 1). A label in a file is 0 or 1, or a degree of relevance."""

    name = "score"
    answer = "a score between 0 and 1, by a sigmoid"
    labels_are_names = False

    def label(self, given: Any, known: Known, width: int) -> Any:
        return [number(given, known)]

    def constant(self, labels: np.ndarray, groups: np.ndarray | None = None) -> str | None:
        if groups is None:
            return super().constant(labels)
        if labels.min() < 0:
            return "a degree of relevance is below 0"
        kinds = np.unique(np.column_stack([groups, labels]), axis=0)
        if len(kinds) == len(np.unique(groups)):
            return "no group has texts of different relevance, so that any order is right"
        return None

    def fits(self, labels: np.ndarray, grouped: bool) -> bool:
        return grouped or bool(np.isin(labels, (0, 1)).all())

    def evaluate(self, found: np.ndarray, reference: np.ndarray, truth: Truth) -> Quality:
        labels = truth.labels[:, 0]
        if truth.groups is not None:
            return quality.evaluate_ranking(found[:, 0], labels, reference[:, 0], truth.groups)
        ours, theirs = (holds(answers)[:, 0] for answers in (found, reference))
        return quality.evaluate(ours, labels.astype(int), theirs)
