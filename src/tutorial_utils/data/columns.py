"""Which columns of a file hold the texts, their labels and their groups."""

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutorial_utils.data.tables import BadData, Table, Values

PAIR = "text_pair"
# Usual names of the texts of a pair, in lower case without `_`. They are never guessed, but a file
# with one is not read without it; nor with one of USUAL, unless its values are no texts.
FIRST = ("query", "question", "premise", "sentence1", "question1", "text1", "texta", "sentencea")
SECOND = (
    "hypothesis",
    "sentence2",
    "question2",
    "text2",
    "textb",
    "sentenceb",
    "passage",
    "textpair",
)
USUAL = (
    *FIRST, "answer", "candidate", "context", "doc", "document", "pair", "reply", "response",
)  # fmt: skip
_CATEGORIES = 50  # more different values are no categories
# Two words in a row, or some letters of a script that has no spaces between words.
_WORDS = re.compile(
    r"[^\W\d_]\W{0,3}\s\W{0,3}[^\W\d_]|[\u0e00-\u0eff\u1780-\u17ff\u3040-\u9fff]{4}"
)


@dataclass(frozen=True)
class Columns:
    """Names of columns. pair: the second text; by default ``text_pair`` if there is such a column.
    label: None if there are no labels. group: the query that each text belongs to; None if texts
    are not ranked.
    """

    text: str = "text"
    pair: str | None = None
    label: str | None = "label"
    group: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """Role → column, of those that are read."""
        return {role: name for role, name in vars(self).items() if name is not None}


def choose(
    tables: Sequence[Table], columns: Columns, file: str, needs_labels: bool = True
) -> tuple[Table, Columns]:
    """The first table that has the columns, and all columns to read.

    tables: one for each delimiter. needs_labels: as in ``Task``.

    Raises:
        BadData: no table has all columns, one of them is there twice, or a second text would be
            dropped. The message lists the columns of the file and names the flags.
    """

    def missing(table: Table) -> list[str]:
        optional = () if needs_labels or columns.label != Columns.label else ("label",)
        roles = (role for role in columns.named if role not in optional)
        return [role for role in roles if columns.named[role] not in table.columns]

    table = min(tables, key=lambda table: (len(missing(table)), -len(table.columns)))
    found = table.columns
    listed = f"it has {', '.join(found)}"
    if not found:
        raise BadData(f"{file} is empty. Give a file with texts.")
    if absent := missing(table):
        names = " or ".join(columns.named[role] for role in absent)
        say = dict.fromkeys(absent, "COLUMN")
        first, second = _named(found, FIRST), _named(found, (*SECOND, *USUAL[len(FIRST) :]))
        if "text" in say and columns.pair is None and first and second:
            say |= {"text": shlex.quote(first[0]), "pair": shlex.quote(second[0])}
        flags = " ".join(f"--{role} {column}" for role, column in say.items())
        raise BadData(
            f"{file} has no column {names}; {listed}. Say what to read: {flags}. A CSV file must "
            "name its columns in the first line; --delimiter says what separates them."
        )
    if columns.pair is None and PAIR in found:
        columns = replace(columns, pair=PAIR)
    if not needs_labels and (columns.pair is None or columns.label not in found):
        columns = replace(columns, label=None)
    read = columns.named.values()
    if twice := [name for name in read if found.count(name) > 1]:
        raise BadData(f"{file} has two columns {twice[0]}; {listed}. Rename one of them.")
    _check_pair([name for name in _named(found, SECOND) if name not in read], columns, file)
    return table, columns


def unused(table: Table, columns: Columns, rows: Collection[Values], file: str) -> list[str]:
    """The columns with texts that are not read.

    Raises:
        BadData: one of them has the usual name of a text of a pair, and no pairs are read.
    """
    others = dict.fromkeys(name for name in table.columns if name not in columns.named.values())
    texts = [name for name in others if _are_texts([row.get(name) for row in rows])]
    _check_pair(_named(texts, USUAL), columns, file)
    return texts


def _are_texts(values: Sequence[Any]) -> bool:
    """Do most of them have several words, and are they too many to be categories?"""
    several = sum(isinstance(one, str) and bool(_WORDS.search(one)) for one in values)
    different = len({one for one in values if isinstance(one, str)})
    return several > len(values) / 2 and different > min(_CATEGORIES, len(values) / 4)


def _check_pair(left: Sequence[str], columns: Columns, file: str) -> None:
    if left and columns.pair is None:
        raise BadData(
            f"{file} has a second text, {left[0]}, which would be left out. Read it with "
            f"--pair {shlex.quote(left[0])}, or remove the column."
        )


def _named(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    return [one for one in columns if re.sub(r"[\W_]+", "", one.lower()) in names]
