"""One row a step, measured side by side with the step before: did it pay?"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import paths, records
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.core.tables import Table

PYTORCH = "pytorch"
REFERENCE = "reference"  # the verdict on PyTorch, which has nothing to be compared with


class EmptyLedger(TutorialError, ValueError):
    """There is no row to show yet."""


@dataclass(frozen=True)
class Row:
    """One step of the course.

    latency_ms (p50), size_mb: BERT-base shape with seeded weights, 1 × 128. texts_per_s, f1,
    agreement: the fine-tuned classifier on real test sentences, from text to label. latency,
    labelling: time of a call at that shape, and to label these sentences, relative to PyTorch in
    the same run. The verdicts compare the same times with those of the previous step, in the same
    run too.
    """

    step: str
    position: int  # place among the steps
    latency_ms: float
    texts_per_s: float
    size_mb: float
    f1: float
    agreement: float
    machine: str
    versions: dict[str, str]
    latency: Ratio = Ratio(1.0, 1.0, 1.0)
    labelling: Ratio = Ratio(1.0, 1.0, 1.0)
    latency_verdict: str = REFERENCE
    throughput_verdict: str = REFERENCE
    time: str = ""


def path() -> Path:
    """Where the ledger is kept."""
    return paths.home() / "ledger.json"


def record(row: Row, file: Path | None = None) -> Row:
    """Put ``row`` in the ledger in place of an older one of the same step; return it, dated.

    Writers take turns by a lock that the system frees when one dies, and replace the whole file,
    so that a killed writer leaves the ledger as it was.
    """
    file = file or path()
    row = replace(row, time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    with FileLock(f"{file}.lock"):
        rows = [old for old in _recorded(file) if old.step != row.step]
        paths.write(file, as_json((*rows, row)))
    return row


def as_json(rows: Sequence[Row]) -> str:
    """Rows as they are kept in a file."""
    return json.dumps({"rows": [asdict(row) for row in rows]}, indent=2, ensure_ascii=False)


def set_aside(file: Path | None = None) -> None:
    """Begin a new ledger; the old one is kept beside it, as ``ledger.before.json``."""
    file = file or path()
    if file.exists():
        file.replace(file.with_suffix(".before.json"))


def rows_of(file: Path | None = None) -> tuple[Row, ...]:
    """The rows in the order of the steps; none when there is no ledger yet.

    Each row was measured in a run of its own, and a shared machine drifts between runs. So once
    PyTorch has a row, the milliseconds and texts per second of all others are PyTorch's, times the
    factor measured beside it: no column can contradict another.

    A file that this version of the package did not write is set aside; a message on stderr says so.
    """
    rows = _recorded(file or path())
    if not rows or rows[0].step != PYTORCH:
        return rows
    return tuple(
        replace(
            row,
            latency_ms=rows[0].latency_ms * row.latency.ratio,
            texts_per_s=rows[0].texts_per_s / row.labelling.ratio,
        )
        for row in rows
    )


def _recorded(file: Path) -> tuple[Row, ...]:
    """The rows as they were measured."""
    if not file.exists():
        return ()
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))["rows"]
        rows = records.typed(tuple[Row, ...], stored)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        set_aside(file)
        print(
            f"{file.name} is damaged or from another version of this package ({error}). It is kept "
            f"as {file.stem}.before.json. Run the notebooks or `python -m tutorial_utils bench` to "
            "measure its rows again.",
            file=sys.stderr,
        )
        return ()
    return tuple(sorted(rows, key=lambda row: row.position))


def table(rows: tuple[Row, ...] | None = None) -> Table:
    """The ledger as a table; factors, with intervals, are those measured beside PyTorch."""
    rows = rows_of() if rows is None else rows
    headers = ("step", "p50 ms", "× faster", "MB", "texts/s", "× more", "F1", "agreement", "pays?")
    lines = [
        (
            row.step,
            f"{row.latency_ms:.1f}",
            _gain(row.latency),
            f"{row.size_mb:,.1f}",
            f"{row.texts_per_s:,.0f}",
            _gain(row.labelling),
            f"{row.f1:.4f}",
            f"{row.agreement:.2%}",
            pays(row),
        )
        for row in rows
    ]
    return Table.of(headers, lines)


def _gain(time: Ratio) -> str:
    """How many times less time than PyTorch, with the interval; PyTorch itself has none."""
    gain = time.inverse()
    interval = f" [{gain.low:.3g}, {gain.high:.3g}]" if time.low < time.high else ""
    return f"{gain.ratio:.3g}{interval}"


def pays(row: Row) -> str:
    """What a step gained beside the one before it, in words."""
    verdicts = {"latency": row.latency_verdict, "throughput": row.throughput_verdict}
    if REFERENCE in verdicts.values():
        return REFERENCE
    won = [what for what, verdict in verdicts.items() if verdict == "faster"]
    lost = [what for what, verdict in verdicts.items() if verdict == "slower"]
    text = "yes: " + " and ".join(won) if won else "no"
    return text + ("; costs " + " and ".join(lost) if lost else "")
