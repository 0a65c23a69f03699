"""The machine's roofline, and the share of it that each recipe reaches on the BERT-base shape."""

from dataclasses import asdict

from benchmarks.common import Folder
from benchmarks.roofs import attainable, roofs
from tutorial_utils.bench import roofline, timer
from tutorial_utils.bench.roofline import Roofs, Work
from tutorial_utils.core import paths
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table
from tutorial_utils.lessons import figures, measure, pipeline

SHAPES = ((1, 24), (1, 128), (8, 128))
KINDS = {"exported": "fp32", "fused": "fp32", "int8": "u8×s8"}


def search(folder: Folder) -> None:
    """Measure the roofs and the recipes, and write the report."""
    here = roofs()
    rows, spent = [], {}
    for batch, length in SHAPES:
        result = timer.compare(
            {step: measure.latency_candidate(step, batch, length) for step in KINDS},
            rounds=5,
            seconds=0.4,
            minimum_calls=2,
        )
        for step in KINDS:
            source = pipeline.ensure("int8" if step == "int8" else "fused", "bert-base")
            work = roofline.work(source, batch, length)
            ms = result.timings[step].p50_ms
            rows.append(
                {"step": step, "shape": f"{batch} × {length}", "p50_ms": ms, **asdict(work)}
            )
        spent[f"{batch} × {length}"] = roofline.profile(
            pipeline.ensure("int8", "bert-base"), pipeline.recipe("int8").session, batch, length,
            paths.home(),
        )  # fmt: skip
    folder.keep("roofline", {"roofs": asdict(here), "rows": rows, "operators_ms": spent})
    draw(folder.read("roofline"), folder)


def draw(found: dict, folder: Folder) -> None:
    """Write ``roofline.md`` and ``roofline.png``."""
    here = Roofs(**found["roofs"])
    lines, points, share = [], {}, 0.0
    for row in found["rows"]:
        step, shape, ms = row["step"], row["shape"], row["p50_ms"]
        kind, work = KINDS[step], Work(row["operations"], row["bytes"])
        share = roofline.share(work.operations, ms, here.operations[kind])
        possible = attainable(here, kind, work) / here.operations[kind]
        lines.append(
            (step, shape, f"{work.operations / 1e9:,.1f}", f"{ms:,.1f}", kind, f"{share:.0%}",
             f"{possible:.0%}")
        )  # fmt: skip
        if step != "exported":
            points[f"{step} {shape}"] = (kind, work, ms)
    spent = found["operators_ms"]
    largest = spent[lines[-1][1]]
    operators = [op for op, ms in largest.items() if ms > 0.002 * sum(largest.values())]
    where = [
        (op, *(f"{100 * times.get(op, 0) / sum(times.values()):.1f} %" for times in spent.values()))
        for op in operators
    ]
    headers = ("step", "shape", "10⁹ operations", "p50 ms", "kind", "of its roof", "possible")
    text = TEXT.format(
        machine=Machine(**found["machine"]),
        roofs=" · ".join(f"{kind} {roof:.2f}" for kind, roof in here.operations.items()),
        failed="".join(f"Not measured: {kind} ({why}). " for kind, why in here.failed.items()),
        bytes=here.bytes,
        table=Table.of(headers, lines).markdown(),
        where=Table.of(("operator of the INT8 file", *spent), where).markdown(),
    )
    folder.write("roofline.md", text)
    title = f"INT8 at 8 × 128 reaches {share:.0%} of the roof; small batches less"
    folder.save_figure("roofline", figures.roofline(here, points, title))


TEXT = """# Roofline

Measured by `make search` on: {machine}. Fastest matrix products, in 10¹² operations a second:
{roofs}. {failed}A copy in memory moves {bytes:.0f} GB/s. Possible: the share that can be reached if
the weights are read once; below 100 %, memory is the limit.

{table}

## Where the time goes
{where}
"""
