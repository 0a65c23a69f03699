"""Labelled texts from a file of the user's: CSV, TSV or JSON lines with ``text`` and ``label``."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import named

FEWEST = 20
FORMATS = (".csv", ".tsv", ".jsonl")


class BadData(TutorialError, ValueError):
    """The file cannot be used; the message names the line and says what was expected."""


@dataclass(frozen=True)
class Labelled:
    """Texts or pairs, and what is right for each: int64 (n,) or (n, labels), or float (n, targets).

    groups: int64 (n,), the query that each text belongs to; None if texts are not ranked. notes:
    for the report, such as rows that were left out.
    """

    texts: tuple[Text, ...]
    labels: np.ndarray
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def reads(self) -> str:
        """``pair`` or ``text``, as in ``Manifest``."""
        return "pair" if self.texts and isinstance(self.texts[0], tuple) else "text"

    def __len__(self) -> int:
        return len(self.texts)


def read(file: Path, names: Sequence[str], task: str) -> Labelled:
    """Read a file with the columns (or keys) ``text`` and ``label``.

    names, task: the classifier's labels, and its task, one of ``tasks.TASKS``.
    A label in the file is one of the names or its number; several are separated by ``|`` (in JSON:
    a list). For a regression it is the value itself, or several.

    Raises:
        BadData: a line is wrong, there are fewer than ``FEWEST`` texts, or all labels of a
            regression's target are the same.
    """
    file = Path(file)
    if not file.is_file():
        raise BadData(f"There is no file {file.name}. Give a CSV, TSV or JSON lines file.")
    if file.suffix not in FORMATS:
        raise BadData(f"{file.name}: the name must end in one of {', '.join(FORMATS)}.")
    texts, labels = [], []
    try:
        for line, record in _records(file):
            where = f"{file.name}, line {line}"
            text, label = record.get("text"), record.get("label")
            if not isinstance(text, str) or not text.strip():
                raise BadData(f"{where}: `text` is missing or empty.")
            if label is None or label == "":
                raise BadData(f"{where}: `label` is missing.")
            texts.append(text)
            try:
                labels.append(named(task).label(label, names))
            except ValueError as error:
                raise BadData(f"{where}: {error}.") from None
    except UnicodeDecodeError as error:
        raise BadData(f"{file.name} is not UTF-8 (byte {error.start}). Convert it first.") from None
    except csv.Error as error:
        raise BadData(f"{file.name} cannot be read as {file.suffix[1:]}: {error}.") from None
    if len(texts) < FEWEST:
        raise BadData(
            f"{file.name} has {len(texts)} texts. A score needs at least {FEWEST}, and an interval "
            "narrow enough to decide anything about 1,000."
        )
    made = Labelled(tuple(texts), np.array(labels))
    if 0 in (spread := named(task).spread(made.labels) or ()):
        raise BadData(
            f"{file.name}: all labels of target {spread.index(0)} are the same number. The "
            "error of a regression is measured against the spread of its labels: add other texts."
        )
    return made


def _records(file: Path) -> Iterator[tuple[int, dict]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if file.suffix == ".jsonl":
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _json(line, f"{file.name}, line {number}")
            return
        reader = csv.DictReader(lines, delimiter="," if file.suffix == ".csv" else "\t")
        if missing := {"text", "label"} - set(reader.fieldnames or ()):
            raise BadData(
                f"{file.name} has no column {' or '.join(sorted(missing))}; its first line must "
                "name the columns, `text` and `label` among them."
            )
        for record in reader:
            yield reader.line_num, record


def _json(line: str, where: str) -> dict:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise BadData(f"{where} is not JSON ({error}).") from None
    if not isinstance(record, dict):
        raise BadData(f'{where} must be an object such as {{"text": "…", "label": "…"}}.')
    return record
