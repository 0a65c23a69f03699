"""The steps' stored figures as Markdown."""

from benchmarks.common import Folder, section
from benchmarks.stages import notes
from tutorial_utils.core.machine import Machine

NAME = "results"  # of the file
STAGES = ("a/a", "shapes", "texts")


def draw(found: dict, folder: Folder) -> None:
    """Write ``results.md``."""
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
    folder.write("results.md", "\n".join(parts))
