"""The rows of a CSV, TSV, JSON lines or Parquet file, each with the line where it begins."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutorial_utils.core import scoped
from tutorial_utils.core.errors import TutorialError

JSON_LINES = (".jsonl", ".ndjson")
FORMATS = (".csv", ".tsv", *JSON_LINES, ".parquet")
DELIMITERS = ",;\t|"  # those that are looked for in a CSV file
OPEN_QUOTE = (
    "a field begins with a quote that does not close properly. Quotes within a field in quotes "
    "are written twice"
)
Values = Mapping[str, Any]


class BadData(TutorialError, ValueError):
    """The file cannot be used; the message names the line and says what was expected."""


@dataclass(frozen=True)
class Row:
    """Its values by column, and the line where it begins. problem: why there are no values."""

    line: int
    values: Values
    problem: str | None = None


@dataclass(frozen=True)
class Table:
    """Its columns, and a function that reads the rows.

    The function takes a test: can these values be a row of the file? Lines within a row that pass
    it show that a quote does not close. unit: what ``Row.line`` counts.
    """

    columns: tuple[str, ...]
    rows: Callable[[Callable[[Values], bool]], Iterator[Row]]
    unit: str = "line"


def read(file: Path, delimiter: str | None = None) -> list[Table]:
    """The file as a table. A CSV file gives one for each delimiter, unless it is given.

    Raises:
        BadData: there is no such file, or its format is another one.
    """
    suffix = file.suffix.lower()
    if not file.is_file():
        raise BadData(f"There is no file {file}. Give a file that ends in {', '.join(FORMATS)}.")
    if suffix not in FORMATS:
        raise BadData(f"{file.name}: the name must end in one of {', '.join(FORMATS)}.")
    if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise BadData(f"The delimiter must be one character, not {delimiter!r}; \\t is a tab.")
    if suffix == ".parquet":
        return [_parquet(file)]
    lines = _lines(file)
    if suffix in JSON_LINES:
        return [_json_lines(lines, file.name)]
    given = delimiter or ("\t" if suffix == ".tsv" else DELIMITERS)
    return [_delimited(lines, one) for one in given]


def _lines(file: Path) -> list[str]:
    """The lines with their ends. Bytes that are not UTF-8 become lone surrogates."""
    data = file.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadData(f"{file.name} is UTF-16, not UTF-8. Save it as UTF-8.")
    text = data.decode("utf-8-sig", errors="surrogateescape")
    return list(io.StringIO(text, newline=""))


def _delimited(lines: Sequence[str], delimiter: str) -> Table:
    start = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    header, taken = _quoted(lines, start, delimiter)
    columns = tuple(name.strip() for name in header or ())

    def rows(possible: Callable[[Values], bool]) -> Iterator[Row]:
        at = start + taken
        while at < len(lines):
            count = 1
            if lines[at].strip():
                row, count = _row(lines, at, delimiter, columns, possible)
                yield row
            at += count

    return Table(columns, rows)


def _row(
    lines: Sequence[str],
    at: int,
    delimiter: str,
    columns: Sequence[str],
    possible: Callable[[Values], bool],
) -> tuple[Row, int]:
    """The row that begins at ``lines[at]``, and the number of its lines: one if it is wrong.

    Most programs that write TSV do not quote, and some do. So in TSV, a line that can be a row is
    one, and a quote means quoting only if its field closes on that line.
    """

    def by_itself(line: str) -> Values | None:
        fields = _fields(line, delimiter)
        return dict(zip(columns, fields, strict=True)) if len(fields) == len(columns) else None

    fields, count = _quoted(lines, at, delimiter)
    closes = fields is not None and len(fields) == len(columns)
    alone = by_itself(lines[at]) if delimiter == "\t" else None
    if alone and (not closes or possible(alone)):
        return Row(at + 1, alone), 1
    if fields is None:
        return Row(at + 1, {}, OPEN_QUOTE), 1
    if len(fields) != len(columns):
        over = f" over {count} lines" if count > 1 else ""
        problem = (
            f"{len(fields)} fields{over}, but the header names {len(columns)}. A text that "
            f"contains {delimiter!r} must be in quotes"
        )
        return Row(at + 1, {}, problem), 1
    if any((inside := by_itself(line)) and possible(inside) for line in lines[at : at + count - 1]):
        return Row(at + 1, {}, OPEN_QUOTE), 1
    return Row(at + 1, dict(zip(columns, fields, strict=True))), count


def _quoted(lines: Sequence[str], at: int, delimiter: str) -> tuple[list[str] | None, int]:
    """The fields of the row that begins at ``lines[at]``, and the number of its lines.

    As RFC 4180 says: a field in quotes may go over several lines. None: a quote does not close.
    """
    rest = (lines[i] for i in range(at, len(lines)))
    reader = csv.reader(rest, delimiter=delimiter, strict=True)
    try:
        with scoped.csv_fields_of_any_length():
            return next(reader, None), reader.line_num
    except csv.Error:
        return None, 1


def _fields(line: str, delimiter: str) -> list[str]:
    """The fields of one line. A quote that does not close on it is text."""
    mark = re.escape(delimiter)
    pattern = rf'(?:^|{mark})(?:"((?:[^"]++|"")*+)"(?={mark}|$)|([^{mark}]*))'
    found = re.findall(pattern, line.rstrip("\r\n"))
    return [quoted.replace('""', '"') or plain for quoted, plain in found]


def _json_lines(lines: Sequence[str], name: str) -> Table:
    rows = [_object(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    columns = tuple(dict.fromkeys(key for row in rows for key in row.values))
    if rows and not columns:
        raise BadData(f"{name}, line {rows[0].line}: {rows[0].problem}.")
    return Table(columns, lambda _: iter(rows))


def _object(number: int, line: str) -> Row:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"it is not JSON ({error})")
    if not isinstance(record, dict):
        return Row(number, {}, 'it must be an object, such as {"text": "…", "label": "…"}')
    return Row(number, record)


def _parquet(file: Path) -> Table:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise BadData(
            f"{file.name}: Parquet needs pyarrow, which is not installed: pip install "
            '".[parquet]" in the repository. Or save the file as CSV or JSON lines.'
        ) from None
    try:
        found = parquet.read_table(file)
    except (ValueError, OSError) as error:
        raise BadData(f"{file.name} cannot be read as Parquet: {error}.") from None
    rows = [Row(i, values) for i, values in enumerate(found.to_pylist(), 1)]
    return Table(tuple(found.column_names), lambda _: iter(rows), "row")
