"""Where results go, and how a section of them is written."""

import json
from pathlib import Path

from tutorial_utils import benchmark, machine, paths

RESULTS = Path(__file__).parent / "results"


def write(target: Path, text: str) -> None:
    """Put ``text`` in the place of a file."""
    with paths.replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(name: str, found: dict) -> None:
    """Keep what a run found, with the machine it ran on, under ``results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    found = {"machine": machine.describe().to_dict()} | found
    write(RESULTS / f"{name}.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def write_figure(name: str, fig) -> None:
    """Save a figure as ``results/NAME.png``."""
    with paths.replacing(RESULTS / f"{name}.png") as temporary:
        fig.savefig(temporary, dpi=90)


def section(title: str, result: benchmark.Comparison, text: str = "") -> str:
    """A comparison under its heading, in Markdown."""
    return f"## {title}\n\n{text}{result.table().markdown()}\n"
