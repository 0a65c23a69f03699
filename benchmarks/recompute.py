"""Recompute ratios, intervals and verdicts of stored results from their rounds.

``python -m benchmarks.recompute`` goes through ``benchmarks/results/``, rewrites every comparison
whose rounds are stored, draws reports and documents again, and prints each verdict that changed.
Use it after a change to how intervals are computed. Measured times stay as they are.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from benchmarks import store
from benchmarks.common import STORED, Folder, comparisons, ratio
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import paths


def recompute(comparison: dict[str, Any]) -> Iterator[tuple[str, Ratio, Ratio]]:
    """Replace the verdicts of a comparison; yield name, old and new ratio of each."""
    reference = next(iter(comparison["timings"]))
    rounds = comparison["rounds"]
    for name, old in comparison["verdicts"].items():
        new = Ratio.of_rounds(rounds[name], rounds[reference])
        comparison["verdicts"][name] = asdict(new)
        yield name, ratio(old), new


def _ends(of: Ratio) -> str:
    return f"[{of.low:.2f}, {of.high:.2f}]"


def main() -> None:
    """Recompute and draw all stored results, machine by machine."""
    for folder in sorted(path for path in STORED.iterdir() if path.is_dir()):
        print(folder.name)
        total = changed = 0
        for file in sorted(folder.glob("*.json")):
            found = json.loads(file.read_text(encoding="utf-8"))
            for where, comparison in comparisons(found):
                for name, old, new in recompute(comparison):
                    total += 1
                    if old.word != new.word:
                        changed += 1
                        words = f"{old.word} {_ends(old)} → {new.word} {_ends(new)}"
                        print(f"- {file.stem}, {where}, {name}: {words}")
            paths.write(file, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(f"{changed} of {total} verdicts changed")
        store.draw(Folder(folder))
        store.document(Folder(folder))


if __name__ == "__main__":
    main()
