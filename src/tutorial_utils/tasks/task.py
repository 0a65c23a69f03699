"""What a task is: how a model's outputs are read, compared, scored, watched and told."""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tutorial_utils import quality
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.quality import Quality

Known = Mapping[str, float]  # word of a file → place of the label, or a value
Spread = Sequence[float] | None  # standard deviation of each target, for tasks that measure by it
LABELS, CONFIDENCE = "labels", "confidence"  # names of features that drift watches


@dataclass(frozen=True)
class Close:
    """One measure of how close answers are to a reference's, and the least that may be promoted."""

    name: str
    value: float
    least: float


@dataclass(frozen=True)
class Truth:
    """What is right for each text.

    labels: as ``Task.label`` reads them, (n,) or (n, width). groups: int (n,), the query that each
    text belongs to; None if texts are not ranked. spread: by default that of ``labels``.
    """

    labels: np.ndarray
    groups: np.ndarray | None = None
    spread: Spread = None


class Task(ABC):
    """One kind of answer. Every other package asks the task, and none asks which task it is.

    name: as in ``manifest.json``. answer: what callers get, in words. output: name of the model's
    output. missing: the value of a label that a model does not know. measured_by_spread:
    differences count as shares of the labels' standard deviation. labels_are_names: in a file, a
    label is a name or its number, not a value. needs_labels: False if a score needs them, but not
    the rest; only pairs have labels then, and each text of a pair has an answer of its own.
    route: where callers are answered. Answers are float arrays (n, width); width: one for each
    label, target or dimension.
    """

    name: ClassVar[str]
    answer: ClassVar[str]
    output: ClassVar[str] = "logits"
    missing: ClassVar[float] = 0.0
    measured_by_spread: ClassVar[bool] = False
    labels_are_names: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    route: ClassVar[str] = "/predict"

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Raw outputs as answers: probabilities, or the values that they are."""
        return outputs

    @abstractmethod
    def label(self, given: Any, known: Known, width: int) -> Any:
        """A label of a file, as ``evaluate`` takes it: a number, or a list of numbers.

        given: text, number, list or None. known: what the words of the file mean. width: number of
        labels or targets.

        Raises:
            KeyError: a word that is not known.
            ValueError: the message says what was expected.
        """

    @abstractmethod
    def evaluate(self, found: np.ndarray, reference: np.ndarray, truth: Truth) -> Quality:
        """Score answers, and those of a reference, against the truth."""

    def constant(self, labels: np.ndarray, groups: np.ndarray | None = None) -> str | None:
        """Why labels of a file cannot tell good answers from bad ones; None if they can.

        groups: as in ``Truth``.
        """
        if (labels == labels[0]).all():
            return "all texts have the same label, so a score cannot tell right from wrong"
        return None

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

    def same(self, found: np.ndarray, reference: np.ndarray, spread: Spread = None) -> np.ndarray:
        """Which texts two models answer alike, bool (n,).

        Raises:
            ValueError: the arrays are not of one shape, or ``spread`` is missing.
        """
        found, reference = np.asarray(found), np.asarray(reference)
        if found.shape != reference.shape or found.ndim != 2:
            raise InvalidArgument(
                f"Give two arrays of shape (n, width), not {found.shape} and {reference.shape}."
            )
        return self._same(found, reference, spread)

    @abstractmethod
    def _same(self, found: np.ndarray, reference: np.ndarray, spread: Spread) -> np.ndarray:
        """``same`` for arrays of one shape."""

    def nearness(self, found: np.ndarray, reference: np.ndarray) -> np.ndarray | None:
        """How near answers are to a reference's, (n,); 1: the same. None: they are or are not."""
        return None

    def closeness(
        self, found: np.ndarray, reference: np.ndarray, spread: Spread = None
    ) -> tuple[Close, ...]:
        """How close all answers are to a reference's; the first measure is the one to name."""
        return (Close("agreement", float(self.same(found, reference, spread).mean()), 0.98),)

    def spread(self, values: np.ndarray) -> tuple[float, ...] | None:
        """Standard deviation of each target of ``values``; None if nothing is measured by it."""
        return quality.spread_of(values) if self.measured_by_spread else None


def word(given: Any) -> str:
    """What a file says, in one way: JSON's 1, 1.0 and "1" are the same, and so is " 1 "."""
    text = unicodedata.normalize("NFC", "" if given is None else str(given)).strip()
    return re.sub(r"^([0-9]+)\.0+$", r"\1", text)


def find(given: Any, known: Known) -> float:
    """What a word of a file means. Upper and lower case differ only if both are known.

    Raises:
        KeyError: it is not known.
        ValueError: it is empty.
    """
    asked = word(given)
    if not asked:
        raise ValueError("`label` is empty")
    return known[asked] if asked in known else known[asked.casefold()]


def number(given: Any, known: Known) -> float:
    """A finite number; with known words only these.

    Raises:
        KeyError: words are known, but not this one.
        ValueError: it is no such number.
    """
    if known:
        return find(given, known)
    try:
        value = float(word(given))
    except ValueError:
        value = np.nan
    if re.fullmatch(r"[+-]?\d*,\d+", word(given)):
        raise ValueError(f"label {given!r} is not a number: use a decimal point, not a comma")
    if not np.isfinite(value):
        raise ValueError(
            f"label {given!r} is not a finite number, which this model needs; --label-map gives "
            "words a value"
        )
    return value


def several(given: Any, known: Known) -> list:
    """The labels of a text: a list, or text that ``|`` separates. The names may contain it.

    Raises:
        ValueError: a list holds one of them twice, or a text can be separated in two ways.
    """
    if isinstance(given, list):
        return given
    parts, found = word(given).split("|"), []
    while parts:
        ends = [end for end in range(len(parts), 1, -1) if is_known("|".join(parts[:end]), known)]
        end = ends[0] if ends else 1
        if ends and all(is_known(part, known) for part in parts[:end]):
            raise ValueError(f"{word(given)!r} can be separated in two ways: use a list in JSON")
        found.append("|".join(parts[:end]))
        parts = parts[end:]
    return found


def is_known(given: str, known: Known) -> bool:
    return not {word(given), word(given).casefold()}.isdisjoint(known)
