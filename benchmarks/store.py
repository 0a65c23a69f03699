"""Store the results of this machine for README and docs: ``make results``.

``python -m benchmarks.store`` copies each run from ``artifacts/results/<machine>/`` into
``benchmarks/results/<machine>/`` and draws its report there. Stages that were not run again keep
their stored results. Then it rewrites the sections of README and docs that show results.
``python -m benchmarks.store MACHINE`` only draws the stored reports of a machine again.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import benchmarks.claims.page
import benchmarks.drift.report
import benchmarks.families.report
import benchmarks.load.report
import benchmarks.peers.report
import benchmarks.soak.report
import benchmarks.steps.report
from benchmarks import interval_coverage
from benchmarks.common import README, ROOT, STORED, Folder, measured_folder, write_between
from benchmarks.scale import plan
from benchmarks.search import fusion, quantization, roofline, runtime
from tutorial_utils.core import paths

REPORTS: dict[str, Callable[[dict, Folder], None] | None] = {  # None: no report of its own
    "results": benchmarks.steps.report.draw,
    "peers": benchmarks.peers.report.draw,
    "load": benchmarks.load.report.draw,
    "soak": benchmarks.soak.report.draw,
    "drift": benchmarks.drift.report.draw,
    "families": benchmarks.families.report.draw,
    "families_peers": benchmarks.families.report.draw_peers,  # on the same page
    "fusion": fusion.draw,
    "quantization": quantization.draw,
    "runtime": runtime.draw,
    "roofline": roofline.draw,
    "claims": None,
    "ray": None,
    "aa": None,
    "switch_pages": None,
}
DOCS = ROOT / "docs"


def main(arguments: list[str] | None = None) -> None:
    """Copy, draw, and rewrite the documents."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("machine", nargs="?", help="a folder of benchmarks/results")
    chosen = parser.parse_args(arguments).machine
    fresh = measured_folder()
    stored = Folder(STORED / (chosen or fresh.path.name))
    if chosen and not stored.path.exists():
        known = ", ".join(sorted(path.name for path in STORED.iterdir()))
        sys.exit(f"No results are stored for {chosen}. Choose one of: {known}.")
    if not chosen and not copy(fresh, stored):
        sys.exit(f"{fresh.path} has no results. Run `make bench` or another benchmark first.")
    draw(stored)
    document(stored)
    print(f"Stored in {stored.path}; README and docs show it.")


def copy(fresh: Folder, stored: Folder) -> list[str]:
    """Merge the figures of each new run into the stored ones; return the names of these runs."""
    names = [name for name in REPORTS if (fresh.path / f"{name}.json").exists()]
    for name in names:
        stored.keep(name, merged(stored.read(name), fresh.read(name)))
    return names


def merged(stored: dict, fresh: dict) -> dict:
    """Stored results, replaced by fresh ones; stages and claims are replaced one by one."""
    both = stored | fresh
    for key in ("stages", "figures", "verdicts"):
        if key in both:
            both[key] = stored.get(key, {}) | fresh.get(key, {})
    return both


def draw(folder: Folder) -> None:
    """Write the reports and figures of all results in a folder."""
    for name, report in REPORTS.items():
        if report and (found := folder.read(name)):
            report(found, folder)


def document(folder: Folder) -> None:
    """Rewrite the results in README and docs, as far as the folder has them."""
    results, peers = folder.read("results"), folder.read("peers")
    if {"shapes", "texts"} <= peers.keys():
        others = [Folder(path).read("peers") for path in sorted(STORED.iterdir())]
        others = [run for run in others if run and run["machine"] != peers["machine"]]
        write_between(README, "peers", benchmarks.peers.report.for_readme(peers, others))
    if families := folder.read("families_peers"):
        text = benchmarks.families.report.for_docs(families)
        write_between(DOCS / "your-own-model.md", "families", text)
    for page in (README, DOCS / "your-own-model.md"):
        point_to(page, folder.path)
    if {"shapes", "texts"} <= results.keys():
        text = plan.tables(plan.measured(folder), plan.Plan(), plan.served(folder))
        write_between(DOCS / "scale-out.md", "scale", text)
    if interval_coverage.Residuals.stored(STORED).tables:
        paths.write(DOCS / "measuring.md", interval_coverage.markdown(STORED))
    benchmarks.claims.page.rewrite(folder, DOCS / "claims.md")


def point_to(text_file: Path, folder: Path) -> None:
    """Change a document's links to results to this folder, if it has the file."""

    def replaced(link: re.Match) -> str:
        there = (folder / link[1]).exists()
        return f"benchmarks/results/{folder.name}/{link[1]}" if there else link[0]

    text = text_file.read_text(encoding="utf-8")
    paths.write(text_file, re.sub(r"benchmarks/results/[\w.-]+/([\w.-]+)", replaced, text))


if __name__ == "__main__":
    main()
