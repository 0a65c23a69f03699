"""A small table that reads well in a terminal, a notebook and on GitHub."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tabulate import tabulate


@dataclass(frozen=True)
class Table:
    """Rows under headers; numbers are shown as given, so round them first."""

    headers: tuple[str, ...]
    rows: tuple[tuple, ...]

    @classmethod
    def of(cls, headers: Sequence[str], rows: Iterable[Sequence]) -> "Table":
        return cls(tuple(headers), tuple(tuple(row) for row in rows))

    def _format(self, style: str) -> str:
        return tabulate(
            self.rows, self.headers, tablefmt=style, disable_numparse=True, missingval="–"
        )

    def __str__(self) -> str:
        return self._format("simple")

    __repr__ = __str__

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        return self._format("github")

    def _repr_html_(self) -> str:
        return self._format("html")
