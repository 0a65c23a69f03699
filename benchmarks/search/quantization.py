"""All available kinds of 8-bit quantization: size, answers and time, and which fail and why.

Candidates are chosen on the validation sentences; results on test sentences are only reported. Both
are batched as in the tuned recipe, because dynamic ranges depend on the texts in a batch.
"""

from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from onnxruntime.quantization import CalibrationMethod, QuantType

from benchmarks.common import Folder, interval, ratios
from benchmarks.search import qat, sensitivity, static_quantization
from tutorial_utils import plots, quality
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Labelling, Onnx
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import paths
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table
from tutorial_utils.data import reviews
from tutorial_utils.graph import inspection, quantization, smoothquant
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import labelling
from tutorial_utils.runtime import batching, inference

CALIBRATION = 96  # training sentences for the static ranges; Entropy is slow with more
SENSITIVE = 6  # activations, of about fifty, whose products stay in fp32
GROUP = 5  # candidates timed side by side with the reference
REFERENCE = "dynamic"
OURS = "recommended"


@dataclass(frozen=True)
class Material:
    """The inputs of a candidate. model: ``classifier`` or ``bert-base``."""

    model: str
    exported: Path
    fused: Path
    batches: list[dict[str, np.ndarray]]
    even: list[dict[str, np.ndarray]]  # the same texts in batches of one shape

    @classmethod
    def of(cls, model: str) -> "Material":
        batches = even = [inference.random_inputs(2, 64)]
        if model == "classifier":
            rows = reviews.encode(reviews.splits().train.texts[:CALIBRATION])
            few = batching.by_tokens([len(row) for row in rows], 256)
            batches = [batching.pad([rows[i] for i in batch]) for batch in few]
            width = max(map(len, rows))
            alike = batching.in_order(len(rows), 8)
            even = [batching.pad([rows[i] for i in batch], width) for batch in alike]
        files = (pipeline.ensure(step, model) for step in ("exported", "fused"))
        return cls(model, *files, batches, even)


@dataclass(frozen=True)
class Candidate:
    """A kind of quantization. base: its time is measured on the BERT-base shape too."""

    build: Callable[[Material, Path], Path]
    base: bool = False


@dataclass(frozen=True)
class Found:
    """Size of a candidate's file, and its answers compared with the fp32 file."""

    megabytes: float
    validation: quality.Quality
    test: quality.Quality


def dynamic(made: Material, target: Path, **options) -> Path:
    return quantization.dynamic(made.fused, target, **options)


def without(made: Material, target: Path, ops: tuple[str, ...]) -> Path:
    """Dynamic, with all operators of the types ``ops`` in fp32."""
    nodes = inspection.load_structure(made.fused).graph.node
    # The quantizer turns a Gemm into a MatMul of this name before it reads the list.
    names = [node.name for node in nodes if node.op_type in ops]
    names += [f"{name}_MatMul" for name in names]
    return quantization.dynamic(made.fused, target, embeddings="table", exclude=names)


def smoothed(made: Material, target: Path, **options) -> Path:
    smoothquant.smooth(made.fused, target, made.batches, **options)
    return quantization.dynamic(target, target)


def recommended(made: Material, target: Path) -> Path:
    """The course's own file, calibrated on more sentences than the others."""
    return pipeline.ensure("int8", made.model)


def static(made: Material, target: Path, **options) -> Path:
    return static_quantization.quantize(made.exported, target, made.batches, **options)


def histogram(made: Material, target: Path, method: CalibrationMethod) -> Path:
    """Static; Entropy and Percentile cannot combine batches of different shapes."""
    return static_quantization.quantize(made.exported, target, made.even, method=method)


def smoothed_static(made: Material, target: Path) -> Path:
    smoothquant.smooth(made.exported, target, made.batches, neurons=0)
    return static_quantization.quantize(target, target, made.batches)


def sensitive_static(made: Material, target: Path) -> Path:
    """Static, except the products whose inputs lose most."""
    static(made, target)
    errors = sensitivity.activations(made.exported, target, made.batches[:2])
    worst = [name for name in errors if sensitivity.readers(made.exported, [name])][:SENSITIVE]
    return static(made, target, exclude=sensitivity.readers(made.exported, worst))


def static_fused(made: Material, target: Path) -> Path:
    ops = ("MatMul", "Attention", "Gemm")
    return static_quantization.quantize(made.fused, target, made.batches, ops=ops)


def tuned_qdq(made: Material, target: Path) -> Path:
    return qat.converted(_tuned(dynamic=False), target)


def tuned_dynamic(made: Material, target: Path) -> Path:
    """Weights trained with dynamic rounding, then the recommended recipe."""
    from tutorial_utils.graph import export, fusion
    from tutorial_utils.models import finetuning

    model = qat.tuned_weights(_tuned(dynamic=True), finetuning.load())
    export.export(model, target)
    fusion.fuse_what_pays(target, target)
    return quantization.recommended(target, target, made.batches)


def _tuned(dynamic: bool):
    from tutorial_utils.models import finetuning

    ids = reviews.encode(reviews.splits().train.texts)
    return qat.train(
        qat.prepared(finetuning.load(), dynamic), finetuning.load(), ids, progress=False
    )


TABLE = {"embeddings": "table"}  # as ONNX Runtime's quantizer has them
CANDIDATES = {
    REFERENCE: Candidate(partial(dynamic, **TABLE), base=True),
    "per tensor": Candidate(partial(dynamic, per_channel=False, **TABLE), base=True),
    "QUInt8 weights": Candidate(
        partial(dynamic, weight_type=QuantType.QUInt8, **TABLE), base=True
    ),
    "reduced range": Candidate(partial(dynamic, reduce_range=True, **TABLE)),
    "embeddings in fp32": Candidate(partial(dynamic, embeddings="float"), base=True),
    "embeddings by row": Candidate(dynamic, base=True),
    "Attention in fp32": Candidate(partial(without, ops=("Attention",)), base=True),
    "MatMul in fp32": Candidate(partial(without, ops=("MatMul",))),
    "Gemm in fp32": Candidate(partial(without, ops=("Gemm",))),
    "SmoothQuant 0.3": Candidate(partial(smoothed, alpha=0.3, neurons=0)),
    "SmoothQuant 0.5": Candidate(partial(smoothed, alpha=0.5, neurons=0), base=True),
    "SmoothQuant 0.7": Candidate(partial(smoothed, alpha=0.7, neurons=0)),
    "2 neurons in fp32": Candidate(partial(smoothed, alpha=None), base=True),
    "SmoothQuant, 4 neurons": Candidate(partial(smoothed, neurons=4), base=True),
    OURS: Candidate(recommended, base=True),
    "static MinMax": Candidate(static, base=True),
    "static Entropy": Candidate(partial(histogram, method=CalibrationMethod.Entropy)),
    "static Percentile": Candidate(partial(histogram, method=CalibrationMethod.Percentile)),
    "static, per tensor": Candidate(partial(static, per_channel=False)),
    "static, symmetric": Candidate(partial(static, symmetric=True)),
    "static, QUInt8 weights": Candidate(partial(static, weight_type=QuantType.QUInt8)),
    "static, embeddings too": Candidate(partial(static, ops=("MatMul", "Gather"))),
    "static, SmoothQuant": Candidate(smoothed_static),
    "static, sensitive in fp32": Candidate(sensitive_static),
    "static on the fused graph": Candidate(static_fused),
    "QAT, Q/DQ": Candidate(tuned_qdq),
    "QAT, recommended": Candidate(tuned_dynamic),
}  # fmt: skip


def build(model: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Files of the candidates by name, and the reasons why others failed."""
    made, files, failed = Material.of(model), {}, {}
    folder = paths.home() / "search" / "quantization" / model
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, candidate) in enumerate(CANDIDATES.items()):
        if model != "classifier" and not candidate.base:
            continue
        try:
            files[name] = candidate.build(made, folder / f"{i}.onnx")
            inference.onnx_predict(files[name], RECIPE)(inference.random_inputs(2, 9))
        except Exception as error:  # quantizers raise errors of any type
            files.pop(name, None)
            said = str(error).strip().splitlines() or ["no message"]
            failed[name] = f"{type(error).__name__}: {said[0][:110]}"
        print(f"{model}: {name}: {failed.get(name, 'built')}", flush=True)
    return files, failed


RECIPE = pipeline.recipe("int8").session


def judge(files: dict[str, Path]) -> dict[str, Found]:
    """Compare answers on validation and test sentences with those of the fused fp32 file."""
    tuned, splits = pipeline.recipe("tuned"), reviews.splits()

    def answers(path: Path, texts) -> np.ndarray:
        predict = inference.onnx_predict(path, tuned.in_bulk())
        return labelling.label(texts, predict, budget=tuned.token_budget, workers=tuned.workers)

    parts = {"validation": splits.validation, "test": splits.test}
    exact = {k: answers(pipeline.ensure("fused"), part.texts) for k, part in parts.items()}
    found = {}
    for name, path in files.items():
        scores = {
            k: quality.evaluate(answers(path, part.texts), part.labels, exact[k])
            for k, part in parts.items()
        }
        found[name] = Found(inspection.megabytes(path), **scores)
        print(f"{name}: {scores['validation'].agreement:.2%}, {scores['test']}", flush=True)
    return found


def time(files: dict[str, Path], candidate: Callable, **effort) -> dict[str, Ratio]:
    """Time of each file relative to the reference in the same run, with its interval.

    In groups, each with the reference, because all models at once do not fit into memory.
    """
    times = {REFERENCE: Ratio(1.0, 1.0, 1.0)}
    others = [name for name in files if name != REFERENCE]
    for start in range(0, len(others), GROUP):
        group = [REFERENCE, *others[start : start + GROUP]]
        result = timer.compare({name: candidate(files[name]) for name in group}, **effort)
        times |= ratios(result)
        print(result.table(), flush=True)
    return times


def search(folder: Folder) -> None:
    """Build all candidates, compare answers and times, and write the report."""
    files, failed = build("classifier")
    base, _ = build("bert-base")
    judged = judge(files)
    tuned = pipeline.recipe("tuned")
    one = time(base, lambda path: Onnx(path, 1, 128, RECIPE), rounds=7, seconds=0.25)
    many = time(
        files,
        lambda path: Labelling(
            path, tuned.in_bulk(), tuned.token_budget, None, 300, tuned.workers
        ),
        rounds=5, seconds=0.2, warmup=1, minimum_calls=1,
    )  # fmt: skip
    measured = {
        name: {
            "found": asdict(f),
            "base": astuple(one[name]) if name in one else None,
            "base_megabytes": inspection.megabytes(base[name]) if name in base else None,
            "sentences": astuple(many[name]),
        }
        for name, f in judged.items()
    }
    folder.keep("quantization", {"candidates": measured, "failed": failed})
    draw(folder.read("quantization"), folder)


def draw(found: dict, folder: Folder) -> None:
    """Write ``quantization.md`` and ``quantization.png``."""
    lines, points = [], {}
    for name, m in found["candidates"].items():
        points[name] = (m["sentences"][0], 100 * (1 - m["found"]["test"]["agreement"]))
    best = front(points)
    for name, m in found["candidates"].items():
        test, validation = m["found"]["test"], m["found"]["validation"]
        lines.append((
            f"**{name}**" if name in best else name,
            interval(Ratio(*m["base"]) if m["base"] else None),
            interval(Ratio(*m["sentences"])), f"{m['found']['megabytes']:.1f}",
            f"{m['base_megabytes']:.1f}" if m["base_megabytes"] else "–",
            f"{test['score']:.4f} [{test['low']:+.4f}, {test['high']:+.4f}]",
            f"{validation['agreement']:.2%}", f"{test['agreement']:.2%}",
        ))  # fmt: skip
    failed = found["failed"]
    headers = ("candidate", "BERT-base 1 × 128", "real sentences", "MB", "MB, BERT-base")
    headers += ("F1 [difference]", "agreement, validation", "agreement, test")
    text = TEXT.format(
        machine=Machine(**found["machine"]),
        table=Table.of(headers, lines).markdown(),
        failed=Table.of(("candidate", "why"), list(failed.items())).markdown() if failed else "–",
    )
    folder.write("quantization.md", text)
    speed, differ = points[OURS]
    title = f"“{OURS}”: {1 - differ / 100:.1%} of the labels kept, at {speed:.2f}"
    x = "time relative to “dynamic”, real sentences"
    fig = chart(points, best, title=title, x=x, y="labels that differ from fp32 (%)")
    folder.save_figure("quantization", fig)


def chart(
    points: dict[str, tuple[float, float]], best: list[str], *, title: str, x: str, y: str
) -> Figure:
    """All candidates as points; only those of ``best`` are joined, and named at the side."""
    fig, (axis,) = plots.figure(title)
    chosen = sorted(points[name] for name in best)
    axis.step(*zip(*chosen, strict=True), where="post", color=plots.BLUE, linestyle=":")
    others = [point for name, point in points.items() if name not in best]
    axis.plot(*zip(*others, strict=True), "x", color=plots.GREY, markersize=8, label="others")
    axis.set_yscale("log")
    plots.plain_log_ticks(axis.yaxis, (1, 2, 5))
    axis.set_xlim(left=0.6 * min(px for px, _ in points.values()))
    for i, name in enumerate(sorted(best, key=lambda name: points[name][1])):
        axis.plot(*points[name], "o", color=plots.BLUE, markersize=9)
        axis.annotate(
            name, points[name], xytext=(0.02, 0.08 + 0.1 * i), textcoords="axes fraction",
            va="center", color=plots.BLUE,
            arrowprops={"arrowstyle": "-", "color": plots.BLUE, "alpha": 0.4},
        )  # fmt: skip
    axis.legend(loc="upper right")
    axis.set(xlabel=x, ylabel=y)
    return fig


def front(points: dict[str, tuple[float, float]]) -> list[str]:
    """Names of the points that no other point beats in both numbers, sorted; less is better."""
    return sorted(
        name
        for name, (x, y) in points.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
    )


TEXT = """# Quantization search

Measured by `make search` on: {machine}. Times are relative to “dynamic”, ONNX Runtime's quantizer
with int8 weights per channel, in the same run, with their 95 % interval; below 1 is faster. F1 and
agreement with the fp32 file are those of the fine-tuned classifier, batched as in the tuned
recipe. Candidates are chosen on 500 validation sentences; the results on 2,000 test sentences are
only reported. F1 has the 95 % paired interval of its difference from fp32. Bold: no other
candidate is better in both time and agreement on real sentences. “recommended” has embeddings
quantized by row, SmoothQuant, and two neurons of each layer in fp32.

{table}

![Time and share of labels that differ from fp32; the best candidates are named.](quantization.png)

Symmetric activations exist for static ranges only: `DynamicQuantizeLinear` is asymmetric.

## What could not be built or run
{failed}
"""
