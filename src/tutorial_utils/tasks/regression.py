"""One number for each target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutorial_utils import quality
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.quality import Quality
from tutorial_utils.tasks.task import CONFIDENCE, Task, several


class Regression(Task):
    """Answers are values (n, targets), in the unit of the labels."""

    name = "regression"
    missing = np.nan
    measured_by_spread = True

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def label(self, given: Any, names: Sequence[str]) -> Any:
        values = several(given)
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            raise ValueError(f"{values!r} is not a number, and this is a regression") from None
        if len(numbers) != len(names) or not np.isfinite(numbers).all():
            raise ValueError(f"expected {len(names)} finite number(s), not {values!r}")
        return numbers

    def evaluate(
        self,
        found: np.ndarray,
        labels: np.ndarray,
        reference: np.ndarray,
        *,
        classes: int,
        spread: Sequence[float] | None = None,
        groups: np.ndarray | None = None,
    ) -> Quality:
        return quality.evaluate_values(found, labels, reference, spread)

    def tell(self, answer: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        return {"values": dict(zip(names, answer.tolist(), strict=True))}

    def tensors(self, answers: np.ndarray, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"values": answers}

    def watched(self, answers: np.ndarray) -> Mapping[str, np.ndarray]:
        others = {f"{CONFIDENCE}_{i}": column for i, column in enumerate(answers.T) if i}
        return {CONFIDENCE: answers[:, 0], **others}

    def _same(
        self, found: np.ndarray, reference: np.ndarray, spread: Sequence[float] | None
    ) -> np.ndarray:
        if spread is None:
            raise InvalidArgument(
                "Whether values agree depends on how far the labels spread: give `spread`, the "
                "standard deviation of each target (quality.spread_of)."
            )
        return np.all(quality.same_values(found, reference, spread), axis=1)
