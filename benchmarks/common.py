"""The folders of results: how results are written, and how stored ones are read."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tutorial_utils.bench import timer
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import machine, paths
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "benchmarks" / "results"  # in git, a folder for each machine
README = ROOT / "README.md"
INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "avx2")  # instructions for INT8, the best first


@dataclass(frozen=True)
class Folder:
    """A folder of results: one JSON file for each run, with its report and figures."""

    path: Path

    def __str__(self) -> str:
        if self.path.name == "quick":
            return f"{self.path} (a quick run: do not use its figures)"
        return f"{self.path} (`make results` stores it for README and docs)"

    def read(self, name: str) -> dict:
        """The content of ``NAME.json``, or {} if there is none."""
        file = self.path / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def keep(self, name: str, found: dict) -> None:
        """Write ``NAME.json``. Its first key is the machine, that of ``found`` or else this one."""
        found = {"machine": asdict(machine.describe())} | found
        self.write(f"{name}.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    def write(self, file: str, text: str) -> None:
        paths.write(self.path / file, text)

    def save_figure(self, name: str, fig) -> None:
        """Save a figure as ``NAME.png``."""
        with paths.replacing(self.path / f"{name}.png") as temporary:
            fig.savefig(temporary, dpi=90)


@dataclass(frozen=True)
class Target:
    """A line of a table of targets. met: None if it was not measured or is undecided."""

    what: str
    target: str
    reached: str
    met: bool | None


def target_table(lines: list[Target]) -> Table:
    words = {True: "yes", False: "no"}
    rows = [
        (t.what, t.target, t.reached,
         words.get(t.met, "not measured" if t.reached == "–" else "undecided"))
        for t in lines
    ]  # fmt: skip
    return Table.of(("what", "target", "reached", "met?"), rows)


def slug(of: Machine) -> str:
    """Name of a machine's folder: processor, its best instructions for INT8, cores.

    "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz" with four cores becomes
    ``intel-xeon-platinum-8481c-amx_int8-4-cores``.
    """
    name = re.sub(r"\((R|TM|C)\)|@.*|\b(CPU|Processor|\d+-Core)\b", " ", of.processor, flags=re.I)
    best = next((feature for feature in INT8 if feature in of.features), "")
    words = re.findall(r"[a-z0-9_]+", f"{name} {best} {of.cores} cores".lower())
    return "-".join(words)


def run_folder(quick: bool = False) -> Folder:
    """The folder that a run on this machine writes to: in the artifacts' home, never in git.

    Quick runs have their own folder, which is never stored.
    """
    if quick or os.environ.get("TUTORIAL_PACE") == "quick":
        return Folder(paths.home() / "results" / "quick")
    return measured_folder()


def measured_folder() -> Folder:
    """The results of full runs on this machine that are not stored yet."""
    return Folder(paths.home() / "results" / slug(machine.describe()))


def no_bf16() -> str | None:
    """Why PyTorch in bf16 is not measured on this processor, or None."""
    if machine.has_bf16():
        return None
    return "this processor has no instructions for it, so it takes several times as long as fp32"


def write_between(document: Path, marker: str, text: str) -> None:
    """Replace a document's text between ``<!-- MARKER:begin -->`` and ``<!-- MARKER:end -->``.

    Raises:
        ValueError: the document does not have both markers.
    """
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{document.name} has no section {begin} … {end}; add both lines to it.")
    paths.write(document, f"{before}{begin}\n{text.strip()}\n{end}{after}")


def restored(values: dict) -> timer.Comparison:
    """Rebuild a comparison from its ``asdict`` form. Older ones have another p50, and a p99."""
    known = [field.name for field in fields(timer.Timing)]
    return timer.Comparison(
        {
            name: timer.Timing(
                **{key: timing[key] for key in known} | {"p50_ms": p50(values, name)}
            )
            for name, timing in values["timings"].items()
        },
        {name: ratio(verdict) for name, verdict in values["verdicts"].items()},
        {name: tuple(times) for name, times in values["rounds"].items()},
        values["machine"],
    )


def p50(comparison: dict, name: str) -> float:
    """Milliseconds of a typical call of a stored candidate, from its rounds."""
    return timer.typical_ms(comparison["rounds"][name], comparison["timings"][name]["items"])


def section(title: str, result: dict, text: str = "") -> str:
    """A stored comparison under its heading, in Markdown."""
    return f"## {title}\n\n{text}{restored(result).table().markdown()}\n"


def comparisons(found: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every stored comparison in a file's content, with the path of keys that leads to it."""
    if isinstance(found, dict):
        if {"rounds", "verdicts", "timings"} <= found.keys():
            yield where, found
        else:
            for key, value in found.items():
                yield from comparisons(value, f"{where} · {key}" if where else key)


def ratio(stored: dict[str, float]) -> Ratio:
    """Rebuild a ratio from its ``asdict`` form. Older results also name its candidates."""
    return Ratio(stored["ratio"], stored["low"], stored["high"])


def interval(ratio: Ratio | None) -> str:
    """A ratio with its interval, as a cell of a table."""
    return "–" if ratio is None else ratio.cell


def ratios(result: timer.Comparison | dict) -> dict[str, Ratio]:
    """Ratio and interval of each candidate relative to the first, which is exactly 1."""
    values = result if isinstance(result, dict) else asdict(result)
    reference = next(iter(values["timings"]))
    others = {name: ratio(verdict) for name, verdict in values["verdicts"].items()}
    return {reference: Ratio(1.0, 1.0, 1.0)} | others


def versions(found: dict, more: dict | None = None) -> str:
    """The library versions of a stored run, in one line."""
    known = found["machine"]["versions"] | (more or {})
    return ", ".join(f"{name} {version}" for name, version in known.items())
