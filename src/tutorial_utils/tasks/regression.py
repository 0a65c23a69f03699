"""One number for each target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutorial_utils import quality
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.quality import Quality
from tutorial_utils.tasks.task import CONFIDENCE, Known, Spread, Task, Truth, number, several


class Regression(Task):
    """Answers are values (n, targets), in the unit of the labels."""

    name = "regression"
    answer = "a number for each target"
    missing = np.nan
    measured_by_spread = True
    labels_are_names = False

    def label(self, given: Any, known: Known, width: int) -> Any:
        numbers = [number(value, known) for value in several(given, known)]
        if len(numbers) != width:
            raise ValueError(f"{given!r} is not {width} number(s), one for each target")
        return numbers

    def constant(self, labels: np.ndarray, groups: np.ndarray | None = None) -> str | None:
        if 0 not in (spread := quality.spread_of(labels)):
            return None
        return (
            f"all labels of target {spread.index(0)} are the same number, and the error of a "
            "regression is measured against the spread of its labels"
        )

    def evaluate(self, found: np.ndarray, reference: np.ndarray, truth: Truth) -> Quality:
        return quality.evaluate_values(found, truth.labels, reference, truth.spread)

    def tell(self, answer: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        return {"values": dict(zip(names, answer.tolist(), strict=True))}

    def tensors(self, answers: np.ndarray, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"values": answers}

    def watched(self, answers: np.ndarray) -> Mapping[str, np.ndarray]:
        others = {f"{CONFIDENCE}_{i}": column for i, column in enumerate(answers.T) if i}
        return {CONFIDENCE: answers[:, 0], **others}

    def _same(self, found: np.ndarray, reference: np.ndarray, spread: Spread) -> np.ndarray:
        if spread is None:
            raise InvalidArgument(
                "Whether values agree depends on how far the labels spread: give `spread`, the "
                "standard deviation of each target (quality.spread_of)."
            )
        return np.all(quality.same_values(found, reference, spread), axis=1)
