"""What a task is: how a model's outputs are read, compared, scored, watched and told."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tutorial_utils import quality
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.quality import Quality

LABELS, CONFIDENCE = "labels", "confidence"  # names of features that drift watches


class Task(ABC):
    """One kind of answer. Every other package asks the task, and none asks which task it is.

    name: as in ``manifest.json``. output: name of the model's output. missing: the value of a
    label that a model does not know. measured_by_spread: differences count as shares of the labels'
    standard deviation. Answers are float arrays (n, width); width: one for each label or target.
    """

    name: ClassVar[str]
    output: ClassVar[str] = "logits"
    missing: ClassVar[float] = 0.0
    measured_by_spread: ClassVar[bool] = False

    @abstractmethod
    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Raw outputs as answers: probabilities, or values."""

    @abstractmethod
    def label(self, given: Any, names: Sequence[str]) -> Any:
        """A label of a file, as ``evaluate`` takes it: a number, or a list of numbers.

        given: text, number or list. Raises ValueError, whose message says what was expected.
        """

    @abstractmethod
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
        """Score answers, and those of a reference, against labels.

        classes: number of labels. groups: int (n,), the query that each text belongs to.
        """

    def fits(self, labels: np.ndarray, grouped: bool) -> bool:
        """Can these labels of a file be right for this task? A single logit has two readings."""
        return True

    @abstractmethod
    def tell(self, answer: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """One answer (width,) as JSON for a caller."""

    @abstractmethod
    def tensors(self, answers: np.ndarray, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Answers as named tensors of text or numbers, one row for each text."""

    @abstractmethod
    def watched(self, answers: np.ndarray) -> Mapping[str, np.ndarray]:
        """Features of answers that drift watches: a number for each, (n,)."""

    def categories(self, width: int) -> Mapping[str, int]:
        """Those features whose numbers are categories, and how many there are; others are ordered.

        Of ``watched``, those that are named ``LABELS…`` and are missing here are not in a profile.
        """
        return {}

    def same(
        self, found: np.ndarray, reference: np.ndarray, spread: Sequence[float] | None = None
    ) -> np.ndarray:
        """Which texts two models answer alike, bool (n,).

        spread: standard deviation of each target, for tasks whose answers are values.

        Raises:
            ValueError: the arrays are not of one shape, or ``spread`` is missing.
        """
        found, reference = np.asarray(found), np.asarray(reference)
        if found.shape != reference.shape or found.ndim != 2:
            raise InvalidArgument(
                f"Give two arrays (n, width), not {found.shape} and {reference.shape}."
            )
        return self._same(found, reference, spread)

    @abstractmethod
    def _same(
        self, found: np.ndarray, reference: np.ndarray, spread: Sequence[float] | None
    ) -> np.ndarray:
        """``same`` for arrays of one shape."""

    def spread(self, values: np.ndarray) -> tuple[float, ...] | None:
        """Standard deviation of each target of ``values``; None if nothing is measured by it."""
        return quality.spread_of(values) if self.measured_by_spread else None


def index(given: Any, names: Sequence[str]) -> int:
    """The number of a label that is given by name or number.

    Raises:
        ValueError: it is neither.
    """
    if given in names:
        return names.index(given)
    if str(given).strip().isdecimal() and int(given) < len(names):
        return int(given)
    known = ", ".join(names[:10])
    raise ValueError(f"label {given!r} is not among the classifier's: {known}")


def several(given: Any) -> list:
    """The labels of a text: a list, or text that ``|`` separates."""
    return given if isinstance(given, list) else str(given).split("|")
