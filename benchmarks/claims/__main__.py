"""Sixteen popular claims measured in one go: ``make claims``, some minutes on a quiet machine.

Writes ``results/claims.json`` and, generated from it, ``docs/claims.md``. Numbers as arguments
measure some claims anew and keep the others' figures.
"""

import json
import sys
import time

from common import RESULTS, write, write_json

from tutorial_utils import claims


def main(numbers: list[int]) -> None:
    import audit_graphs as graphs
    import audit_running as running
    import audit_serving as serving

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
    stored = claims.default_file()
    kept = json.loads(stored.read_text(encoding="utf-8"))["figures"] if stored.exists() else {}
    for number in numbers or measures:
        start = time.perf_counter()
        kept[str(number)] = measures[number]()
        verdict = claims.judge(number, kept[str(number)])
        spent = time.perf_counter() - start
        print(f"{number:>2} {verdict.word}: {verdict.reason} ({spent:.0f} s)", flush=True)
        figures = {str(n): kept[str(n)] for n in measures if str(n) in kept}
        write_json("claims", {"figures": figures})
    if len(kept) == len(measures):
        write(RESULTS.parents[1] / "docs" / "claims.md", claims.markdown())


# The imports stay inside ``main``: a timed candidate's process imports this file again, and would
# carry PyTorch's memory with it.
if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]])
