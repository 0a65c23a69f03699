"""Every fusion on and off, in fp32 and in INT8, at three shapes of BERT-base."""

from dataclasses import asdict

from benchmarks.common import Folder, interval, ratios
from benchmarks.search import fusion_variants
from tutorial_utils import plots
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Onnx
from tutorial_utils.core import paths
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table
from tutorial_utils.graph import export, fusion, quantization
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import finetuning
from tutorial_utils.runtime.session import SessionRecipe

SHAPES = ((1, 24), (1, 128), (8, 128))
AS_WRITTEN = SessionRecipe(disabled_optimizers=fusion.AT_LOAD)
STANDARD = "standard Attention (opset 23)"


def search(folder: Folder) -> None:
    """Build every variant, compare it with the exported file, time it, and write the report."""
    scratch = paths.home() / "search" / "fusion"
    scratch.mkdir(parents=True, exist_ok=True)
    exported = pipeline.ensure("exported", "bert-base")
    files = fusion_variants.build(exported, scratch)
    files[STANDARD] = export.export(finetuning.bert_base(), scratch / "opset23.onnx", opset=23)
    parity = {
        name: export.parity(exported, path, shapes=((1, 24), (3, 17))).maximum
        for name, path in files.items()
    }
    eight_bits = {
        name: quantization.dynamic(path, scratch / f"{path.stem}_int8.onnx")
        for name, path in files.items()
        if name not in (STANDARD, "LayerNormalization taken apart")
    }
    print("largest difference of a logit:", {n: f"{d:.1e}" for n, d in parity.items()}, flush=True)
    found: dict = {"parity": parity}
    for kind, variants in {"fp32": files, "int8": eight_bits}.items():
        for batch, length in SHAPES:
            result = timer.compare(
                {n: Onnx(p, batch, length, AS_WRITTEN) for n, p in variants.items()},
                rounds=7 if batch == 1 else 5,
                seconds=0.25,
                minimum_calls=1 if batch > 1 else 3,
            )
            found[f"{kind} {batch} × {length}"] = asdict(result)
            print(result.table(), flush=True)
    folder.keep("fusion", found)
    draw(folder.read("fusion"), folder)


def draw(found: dict, folder: Folder) -> None:
    """Write ``fusion.md`` and ``fusion.png``."""
    shown = {key: ratios(value) for key, value in found.items() if "verdicts" in value}
    lines = [
        (name, f"{parity:.0e}", *(interval(shown[key].get(name)) for key in shown))
        for name, parity in found["parity"].items()
    ]
    table = Table.of(("fusions", "parity", *shown), lines)
    where = Machine(**found["machine"])
    folder.write("fusion.md", TEXT.format(machine=where, table=table.markdown()))
    int8 = shown["int8 8 × 128"]
    best = min(int8, key=lambda name: int8[name].ratio)
    figure = plots.bars(
        {name: ratio.ratio for name, ratio in int8.items()},
        title=f"INT8, BERT-base 8 × 128: least time with “{best}”",
        unit="time relative to no fusion (whisker: 95 % interval)",
        intervals={name: (ratio.low, ratio.high) for name, ratio in int8.items()},
        highlight=(best, "Attention and Gelu"),
        digits=2,
    )
    folder.save_figure("fusion", figure)


TEXT = """# Fusion search

Measured by `make search` on: {machine}. BERT-base shape, seeded weights. Time relative to the graph
with no fusion in the same run, with its 95 % interval; below 1 is faster. Every session has
ONNX Runtime's own fusions at load disabled, so each file runs as it was written. Parity: largest
difference of a logit from the exported file.

{table}
"""
