"""Which columns of a file hold the texts, their labels and their groups."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tutorial_utils.data.tables import BadData, Table

PAIR = "text_pair"
# Usual names of second texts. They are never guessed, but a file with one is not read without it.
SECOND = ("hypothesis", "sentence2", "question2", "text2", "text_b", "sentence_b")


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
    listed = f"it has {', '.join(found) or 'none'}"
    if absent := missing(table):
        names = " or ".join(columns.named[role] for role in absent)
        flags = " ".join(f"--{role} COLUMN" for role in absent)
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
    second = [name for name in found if name.lower() in SECOND and name not in read]
    if second and columns.pair is None:
        raise BadData(
            f"{file} has a second text, {second[0]}, which would be left out. Read it with "
            f"--pair {shlex.quote(second[0])}, or remove the column."
        )
    return table, columns
