"""Which fusions and which settings pay on this machine, and how near to its roof a recipe comes.

``python benchmarks/search.py [fusion] [quantization] [runtime] [roofline]``; all when none is
named; ``--only`` names sections of the runtime search. Writes ``results/NAME.json``, ``.md`` and
``.png``. Run it on a quiet machine: ``make search``.
"""

import argparse
from dataclasses import asdict

import runtime
import search_quantization
from common import RESULTS, write, write_figure, write_json

from tutorial_utils import (
    baseline,
    benchmark,
    export,
    figures,
    fusion,
    machine,
    measure,
    paths,
    quantization,
    roofline,
    steps,
)
from tutorial_utils.candidates import Onnx
from tutorial_utils.session import SessionRecipe
from tutorial_utils.tables import Table

SHAPES = ((1, 24), (1, 128), (8, 128))
AS_WRITTEN = SessionRecipe(disabled_optimizers=fusion.AT_LOAD)
STANDARD = "standard Attention (opset 23)"


def fusions() -> None:
    """Every fusion on and off, in fp32 and in INT8, at three shapes of BERT-base."""
    folder = paths.home() / "search" / "fusion"
    folder.mkdir(parents=True, exist_ok=True)
    exported = steps.ensure("exported", "bert-base")
    files = fusion.ablate(exported, folder)
    files[STANDARD] = export.export(baseline.bert_base(), folder / "opset23.onnx", opset=23)
    parity = {
        name: export.parity(exported, path, shapes=((1, 24), (3, 17))).maximum
        for name, path in files.items()
    }
    eight_bits = {
        name: quantization.dynamic(path, folder / f"{path.stem}_int8.onnx")
        for name, path in files.items()
        if name not in (STANDARD, "LayerNormalization taken apart")
    }
    print("largest difference of a logit:", {n: f"{d:.1e}" for n, d in parity.items()}, flush=True)
    found: dict = {"parity": parity}
    shown = {}
    for kind, variants in {"fp32": files, "int8": eight_bits}.items():
        for batch, length in SHAPES:
            result = benchmark.compare(
                {n: Onnx(p, batch, length, AS_WRITTEN) for n, p in variants.items()},
                rounds=7 if batch == 1 else 5,
                seconds=0.25,
                minimum_calls=1 if batch > 1 else 3,
            )
            key = f"{kind} {batch} × {length}"
            found[key] = asdict(result)
            shown[key] = {n: (v.ratio, v.low, v.high) for n, v in result.verdicts.items()}
            print(result.table(), flush=True)
    lines = [
        (name, f"{parity[name]:.0e}", *(_cell(shown[key].get(name)) for key in shown))
        for name in files
    ]
    table = Table.of(("fusions", "parity", *shown), lines)
    write_json("fusion", found)
    write(RESULTS / "fusion.md", FUSION.format(machine=machine.describe(), table=table.markdown()))
    ratios = {"none": (1.0, 1.0, 1.0)} | shown["int8 8 × 128"]
    best = min(ratios, key=lambda name: ratios[name][0])
    figure = figures.bars(
        {name: ratio for name, (ratio, _, _) in ratios.items()},
        title=f"INT8, BERT-base 8 × 128: least time with “{best}”",
        unit="time relative to no fusion (whisker: 95 % interval)",
        intervals={name: (low, high) for name, (_, low, high) in ratios.items()},
        highlight=(best, "Attention and Gelu"),
        digits=2,
    )
    write_figure("fusion", figure)


def _cell(ratio: tuple[float, float, float] | None) -> str:
    return "–" if ratio is None else "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)


FUSION = """# Fusion search

Measured by `make search` on: {machine}. BERT-base shape, seeded weights. Time relative to the graph
with no fusion in the same run, with its 95 % interval; below 1 is faster. Every session has
ONNX Runtime's own fusions at load disabled, so each file runs as it was written. Parity: largest
difference of a logit from the exported file.

{table}
"""


def roofs() -> None:
    """The machine's roofs, and each recipe's share of them on the BERT-base shape."""
    here = roofline.roofs()
    kinds = {"exported": "fp32", "fused": "fp32", "int8": "u8×s8"}
    lines, points, shares = [], {}, {}
    spent = {}
    for batch, length in SHAPES:
        result = benchmark.compare(
            {step: measure.latency_candidate(step, batch, length) for step in kinds},
            rounds=5,
            seconds=0.4,
            minimum_calls=2,
        )
        for step, kind in kinds.items():
            source = steps.ensure("int8" if step == "int8" else "fused", "bert-base")
            work = roofline.work(source, batch, length)
            milliseconds = result.timings[step].p50_ms
            reached = roofline.share(work.operations, milliseconds, here.operations[kind])
            possible = roofline.attainable(here, kind, work) / here.operations[kind]
            shares[f"{step} {batch}x{length}"] = reached
            points[f"{step} {batch} × {length}"] = (kind, work, milliseconds)
            lines.append(
                (step, f"{batch} × {length}", f"{work.operations / 1e9:,.1f}",
                 f"{milliseconds:,.1f}", kind, f"{reached:.0%}", f"{possible:.0%}")
            )  # fmt: skip
        spent[f"{batch} × {length}"] = roofline.profile(
            steps.ensure("int8", "bert-base"), steps.recipe("int8").session, batch, length,
            paths.home(),
        )  # fmt: skip
    headers = ("step", "shape", "10⁹ operations", "p50 ms", "kind", "of its roof", "possible")
    largest = spent[f"{SHAPES[-1][0]} × {SHAPES[-1][1]}"]
    operators = [op for op, ms in largest.items() if ms > 0.002 * sum(largest.values())]
    where = [
        (op, *(f"{100 * times.get(op, 0) / sum(times.values()):.1f} %" for times in spent.values()))
        for op in operators
    ]
    text = ROOFLINE.format(
        machine=machine.describe(),
        roofs=" · ".join(f"{kind} {roof:.2f}" for kind, roof in here.operations.items()),
        failed="".join(f"Not measured: {kind} ({why}). " for kind, why in here.failed.items()),
        bytes=here.bytes,
        table=Table.of(headers, lines).markdown(),
        where=Table.of(("operator of the INT8 file", *spent), where).markdown(),
    )
    write(RESULTS / "roofline.md", text)
    write_json("roofline", {"roofs": asdict(here), "shares": shares, "operators_ms": spent})
    shown = {name: point for name, point in points.items() if not name.startswith("exported")}
    share = shares["int8 8x128"]
    title = f"INT8 at 8 × 128 reaches {share:.0%} of the roof; small batches less"
    write_figure("roofline", figures.roofline(here, shown, title))


ROOFLINE = """# Roofline

Measured by `make search` on: {machine}. Best products seen, in 10¹² operations a second: {roofs}.
{failed}A copy in memory moves {bytes:.0f} GB/s. Possible: the share that reading the weights once
leaves open; below 100 % memory is the limit.

{table}

## Where the time goes
{where}
"""

SEARCHES = {
    "fusion": fusions,
    "quantization": search_quantization.main,
    "runtime": runtime.search,
    "roofline": roofs,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("searches", nargs="*", help=f"among {', '.join(SEARCHES)}")
    parser.add_argument("--only", nargs="+", default=(), choices=runtime.SECTIONS)
    options = parser.parse_args()
    if unknown := set(options.searches) - set(SEARCHES):
        parser.error(f"there is no search {sorted(unknown)}; choose among {', '.join(SEARCHES)}")
    RESULTS.mkdir(exist_ok=True)
    for search in options.searches or SEARCHES:
        SEARCHES[search](*([tuple(options.only)] if search == "runtime" else []))


if __name__ == "__main__":
    main()
