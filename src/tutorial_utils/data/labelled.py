"""Labelled texts from a file of the user's: CSV, TSV, JSON lines or Parquet."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_utils.data import labels, tables
from tutorial_utils.data.columns import Columns, choose, unused
from tutorial_utils.data.tables import BadData, Row
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import named
from tutorial_utils.tasks.task import word

FEWEST = 20
_SURROGATE = re.compile("[\ud800-\udfff]")
# Categories of characters that show nothing: spaces, controls, formats, marks without a letter.
_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf", "Mn")
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # so are fillers, which count as letters


@dataclass(frozen=True)
class Labelled:
    """Texts or pairs, and what is right for each: int64 (n,) or (n, labels), or float (n, targets).

    labels: None if the file has none and the task needs none. groups: int64 (n,), the query that
    each text belongs to; None if texts are not ranked. notes: for the report, such as rows that
    were left out. understood: the columns and how the labels were read, in words. skipped: how many
    rows were left out.
    """

    texts: tuple[Text, ...]
    labels: np.ndarray | None
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    understood: str = ""
    skipped: int = 0

    @property
    def reads(self) -> str:
        """``pair`` or ``text``, as in ``Manifest``."""
        return "pair" if self.texts and isinstance(self.texts[0], tuple) else "text"

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Reading:
    """How a file is to be read.

    label_map: word of the file → name, number or value of the label. delimiter: by default a tab in
    TSV, and in CSV the one that gives the columns. skip_bad_rows: go on without them.
    """

    columns: Columns = Columns()
    label_map: Mapping[str, Any] | None = None
    delimiter: str | None = None
    skip_bad_rows: bool = False


def read(file: Path, names: Sequence[str], task: str, reading: Reading = Reading()) -> Labelled:
    """Read a file of texts, or pairs of texts, with their labels.

    names, task: the classifier's labels, and its task, one of ``tasks.TASKS``. A label in the file
    is one of the names or its number; several are separated by ``|`` (in JSON: a list). For a
    regression it is the value itself, or several.

    Raises:
        BadData: a row is wrong and is not to be skipped, the labels can be read in two ways,
            there are fewer than ``FEWEST`` texts, or all texts have the same label.
    """
    file, kind = Path(file), named(task)
    ways = labels.readings(names, kind, reading.label_map)
    found_tables = tables.read(file, reading.delimiter)
    table, columns = choose(found_tables, reading.columns, file.name, kind.needs_labels)

    def possible(values: Mapping[str, Any]) -> bool:
        given = values[columns.label] if columns.label else None
        read = (labels.attempt(given, way, kind, names) for way in ways)
        return bool(given) and not all(isinstance(one, labels.Unreadable) for one in read)

    rows = list(table.rows(possible))
    bad = {row.line: reason for row in rows if (reason := _problem(row, columns))}
    good = {row.line: row.values for row in rows if row.line not in bad}
    left = unused(table, columns, good.values(), file.name)
    found: dict[int, Any] = {}
    way = ""
    if columns.label:
        given = {line: values[columns.label] for line, values in good.items()}
        try:
            found, way = labels.understand(given, ways, kind, names)
        except BadData as error:
            raise BadData(f"{file.name}: {error}.") from None
    bad |= {line: one for line, one in found.items() if isinstance(one, labels.Unreadable)}
    first = f"the first is {table.unit} {min(bad)}: {bad[min(bad)]}" if bad else ""
    count = f"{len(bad):,} of {len(rows):,} rows"
    if bad and not reading.skip_bad_rows:
        raise BadData(
            f"{file.name}: {count} cannot be used; {first}. Correct them, or leave them out with "
            "--skip-bad-rows."
        )
    kept = [line for line in good if line not in bad]
    if len(kept) < FEWEST:
        raise BadData(
            f"{file.name} has {len(kept)} texts{' without the bad rows' if bad else ''}. A score "
            f"needs at least {FEWEST}; an interval narrow enough to decide anything needs about "
            f"1,000.{f' Of the bad rows, {first}.' if bad else ''}"
        )
    made = np.array([found[line] for line in kept]) if columns.label else None
    groups = _groups([good[line][columns.group] for line in kept]) if columns.group else None
    if made is not None and (constant := kind.constant(made, groups)):
        raise BadData(f"{file.name}: {constant}. Add other texts.")
    notes = [f"{count} of {file.name} were left out; {first}."] if bad else []
    if way == labels.BY_NUMBER and any(word(name).isdecimal() for name in names):
        meant = ", ".join(f"{i} is {name}" for i, name in enumerate(names[:3]))
        notes.append(f"The labels of {file.name} were read as numbers of the model's: {meant}, ….")
    if left:
        notes.append(f"Columns of {file.name} that are not used: {', '.join(left)}.")
    return Labelled(
        texts=tuple(_text(good[line], columns) for line in kept),
        labels=made,
        groups=groups,
        notes=tuple(notes),
        understood=", ".join(columns.named.values()) + (way and f"; labels {way}"),
        skipped=len(bad),
    )


def _text(values: Mapping[str, Any], columns: Columns) -> Text:
    text = values[columns.text]
    return (text, values[columns.pair]) if columns.pair else text


def _groups(given: Sequence[Any]) -> np.ndarray:
    return np.unique([word(one) for one in given], return_inverse=True)[1]


def _problem(row: Row, columns: Columns) -> str | None:
    """Why a row cannot be used, whatever its label means."""
    if row.problem:
        return row.problem
    if absent := [name for name in columns.named.values() if name not in row.values]:
        return f"`{absent[0]}` is missing"
    if columns.group and not word(row.values[columns.group]):
        return f"`{columns.group}` is empty"
    for name in (columns.text, columns.pair):
        if name and (problem := _unreadable(row.values[name])):
            return f"`{name}` {problem}"
    return None


def _unreadable(text: Any) -> str | None:
    if not isinstance(text, str):
        return "is missing" if text is None else f"is not text but {type(text).__name__}"
    if _SURROGATE.search(text):
        return (
            "is not valid Unicode: a byte is not UTF-8 (save the file as UTF-8), or half of a "
            "surrogate pair is alone"
        )
    seen = (c for c in text if c not in _BLANK and unicodedata.category(c) not in _UNSEEN)
    return None if any(seen) else "is empty or has no visible character"
