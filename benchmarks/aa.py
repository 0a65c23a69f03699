"""Compare a candidate with itself many times: how often is a difference found?

``python -m benchmarks.aa`` makes 20 comparisons, each with fresh processes, of the exported fp32
file at the BERT-base shape, 1 × 128, and writes them to ``aa.json``. ``--quick`` only tests the
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
    """Ratio, interval and rounds of each run. Each run has new processes and its own order."""
    found = []
    for seed in range(runs):
        result = timer.compare(
            {"first": candidate, "again": candidate}, rounds=rounds, seconds=seconds, seed=seed
        )
        found.append(asdict(result.verdicts["again"]) | {"times": result.rounds})
        print(f"{seed + 1}: {result.verdicts['again']}", flush=True)
    return {"rounds": rounds, "seconds": seconds, "runs": found}


def main() -> None:
    """Measure, store, and print how many intervals do not contain 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aa", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short runs, in a separate folder")
    quick = parser.parse_args().quick
    folder = run_folder(quick)
    candidate = measure.latency_candidate("exported", 1, 128)
    effort = (2, 3, 0.05) if quick else (RUNS, ROUNDS, SECONDS)
    folder.keep(NAME, compare(candidate, *effort))
    print(same_twice(folder.path / f"{NAME}.json"))
    print(f"Written to {folder}.")


if __name__ == "__main__":
    main()
