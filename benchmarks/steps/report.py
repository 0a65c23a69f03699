"""The steps' stored figures as Markdown, and the ledger as a figure."""

from benchmarks.common import Folder, section
from benchmarks.stages import notes
from tutorial_utils.core import records
from tutorial_utils.core.machine import Machine
from tutorial_utils.lessons import figures, ledger

NAME = "results"  # of the file
STAGES = ("a/a", "shapes", "texts", "ledger")


def draw(found: dict, folder: Folder) -> None:
    """Write ``results.md`` and ``ledger.png``."""
    head = f"# Results\n\nMeasured by `make bench` on: {Machine(**found['machine'])}.\n"
    parts = [head + notes("steps", found, STAGES)]
    if "a/a" in found:
        title = "A/A: the same candidate twice, BERT-base shape 1 × 128"
        parts.append(section(title, found["a/a"]))
    for shape, result in found.get("shapes", {}).items():
        title = f"BERT-base shape (seeded weights), {shape.replace('x', ' × ')}"
        parts.append(section(title, result))
    if "texts" in found:
        title = "Real sentences from text to label, fine-tuned classifier"
        parts.append(section(title, found["texts"]))
    if rows := ledger_rows(found):
        parts.append(f"## The ledger\n\n{ledger.table(rows).markdown()}\n")
        folder.save_figure("ledger", figures.ledger(rows))
    folder.write("results.md", "\n".join(parts))


def for_readme(found: dict) -> str:
    """The README's table."""
    rows = ledger_rows(found)
    return f"{ledger.table(rows).markdown()}\n\nMeasured on: {rows[-1].machine}."


def ledger_rows(found: dict) -> tuple[ledger.Row, ...]:
    return records.typed(tuple[ledger.Row, ...], found.get("ledger", ()))
