"""The same candidate compared with itself, again and again: how often is a difference found?

``python -m benchmarks.aa`` makes 20 comparisons, each with fresh processes, of the exported fp32
file at the BERT-base shape, 1 × 128, and keeps them in ``aa.json``. ``--quick`` only tries the
code. Run it on a quiet machine; it takes about four minutes on two cores.
"""

import argparse
from dataclasses import asdict
from typing import Any

from benchmarks.common import run_folder
from benchmarks.interval_coverage import same_twice
from tutorial_utils.bench import timer
from tutorial_utils.lessons import measure

NAME, RUNS, ROUNDS, SECONDS = "aa", 20, 7, 0.25


def compare(candidate: timer.Candidate, runs: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Ratio, interval and rounds of each run; a run has new processes and an order of its own."""
    found = []
    for seed in range(runs):
        result = timer.compare(
            {"first": candidate, "again": candidate}, rounds=rounds, seconds=seconds, seed=seed
        )
        found.append(asdict(result.verdicts["again"]) | {"times": result.rounds})
        print(f"{seed + 1}: {result.verdicts['again']}", flush=True)
    return {"rounds": rounds, "seconds": seconds, "runs": found}


def main() -> None:
    """Measure, keep, and say how many intervals do not hold 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aa", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two runs, kept apart from the others")
    quick = parser.parse_args().quick
    folder = run_folder(quick)
    candidate = measure.latency_candidate("exported", 1, 128)
    effort = (2, 3, 0.05) if quick else (RUNS, ROUNDS, SECONDS)
    folder.keep(NAME, compare(candidate, *effort))
    print(same_twice(folder.path / f"{NAME}.json"))
    print(f"Kept in {folder}.")


if __name__ == "__main__":
    main()
