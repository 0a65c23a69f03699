"""Measure sixteen popular claims, in a few minutes on a quiet machine.

``python -m benchmarks.claims [NUMBER …]`` measures these claims, or all of them. Figures of the
others stay in ``claims.json``. ``make results`` writes ``docs/claims.md`` from it.
"""

import argparse
import time

from benchmarks.claims import graphs, judges, running, serving
from benchmarks.common import run_folder


def main() -> None:
    """Measure the claims named on the command line, or all of them."""
    measures = {
        1: running.latency,
        2: graphs.constants,
        3: graphs.opsets,
        4: graphs.six_fusions,
        5: graphs.level_99,
        6: graphs.reduced_range,
        7: graphs.sizes,
        8: running.session_options,
        9: running.device,
        10: running.tensorrt,
        11: running.warm_up,
        12: running.padding,
        13: running.throughput,
        14: running.arena,
        15: serving.inline,
        16: serving.leaking,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="1 to 16; default: all")
    numbers = parser.parse_args().numbers
    if unknown := set(numbers) - set(measures):
        parser.error(f"unknown claims: {sorted(unknown)}; they are numbered 1 to {len(measures)}")
    folder = run_folder()
    kept = folder.read("claims").get("figures", {}) if numbers else {}
    for number in numbers or measures:
        start = time.perf_counter()
        kept[str(number)] = measures[number]()
        verdict = judges.judge(number, kept[str(number)])
        spent = time.perf_counter() - start
        print(f"{number:>2} {verdict.word}: {verdict.reason} ({spent:.0f} s)", flush=True)
        figures = {str(n): kept[str(n)] for n in measures if str(n) in kept}
        folder.keep("claims", judges.with_verdicts(figures))
    print(f"Written to {folder}.")
    if missing := [str(number) for number in measures if str(number) not in kept]:
        print(f"Not measured here: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
