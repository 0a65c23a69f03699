"""Each kind of figure, drawn of made-up numbers, with names as long as those of the lessons."""

from dataclasses import replace
from functools import partial

from tutorial_utils import plots
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.bench.roofline import Roofs, Work
from tutorial_utils.bench.timer import Comparison, Timing
from tutorial_utils.lessons import figures
from tutorial_utils.lessons.ledger import Row

AXES = {"title": "A batch of 32: 1.4 × the texts per second", "x": "batch size", "y": "per second"}
SIZES = (1, 4, 16, 32)
SECONDS = {"answered": ([0.1, 1.5, 2.5], [12.0, 20.0, 9.0]), "refused": ([2.9], [1.0])}
EVENTS = {"SIGTERM": 1.2, "not ready": 1.3, "process ended": 2.9}
FIRST = Row(
    step="pytorch", position=0, latency_ms=256.8, texts_per_s=27.0,
    size_mb=438.0, f1=0.88, agreement=1.0, machine="here", versions={"torch": "2"},
)  # fmt: skip
LAST = replace(
    FIRST, step="tuned", position=4, latency_ms=93.5, texts_per_s=448.0,
    latency=Ratio(0.9, 0.8, 1.1), labelling=Ratio(0.06, 0.05, 0.07),
    latency_verdict="no measurable difference", throughput_verdict="faster",
)  # fmt: skip
COMPARED = Comparison(
    timings={
        name: Timing(name, 1, 40, ms, ms, 1.2 * ms, 1e3 / ms, 300.0)
        for name, ms in (("everything", 196.3), ("without BiasGelu", 198.4), ("nothing", 231.6))
    },
    verdicts={"without BiasGelu": Ratio(1.01, 0.9, 1.1), "nothing": Ratio(1.18, 1.1, 1.26)},
    rounds={},
    machine="here",
)
ROOFS = Roofs(operations={"fp32": 0.13, "u8×s8": 0.18}, bytes=20.0, failed={})
PRODUCTS = {
    "1 × 128": ("fp32", Work(2e10, 3e8), 200.0), "8 × 128": ("u8×s8", Work(2e11, 1e8), 1500.0),
}  # fmt: skip
DRAWN = {
    "bars": partial(
        plots.bars, {"calibrated": 0.94, "cut": 0.0, "wide": 2.41}, title="Too slow: wide",
        unit="time of one text", intervals={"wide": (1.98, 2.93)}, highlight=["wide"],
        limits={"limit": 1.5},
    ),
    "lines": partial(
        plots.lines, {"texts": (SIZES, [270, 320, 420, 370]), "1000 / mean": (SIZES, SIZES[::-1])},
        **AXES, log_x=True, limits={"limit": 400},
    ),
    "lines logarithmic": partial(
        plots.lines, {"one": ((300, 400), [20, 300]), "two": ((300, 400), [30, 90])}, **AXES,
        log_y=True, limits={"limit": 100},
    ),
    "histogram": partial(plots.histogram, [5, 9, 9, 12, 26, 26, 27, 30, 62], **AXES),
    "front": partial(
        plots.front, {"dynamic": (0.57, 1.1), "static": (1.1, 3.4), "fp32": (1.0, 0.0)},
        ["dynamic", "fp32"], **AXES,
    ),
    "timeline": partial(
        plots.timeline, SECONDS, title="Serving", y="ms", log_y=True, events=EVENTS
    ),
    "comparison": partial(figures.comparison, COMPARED, "Nothing fused is slower"),
    "placement": partial(
        figures.placement, {"a layer": [("MatMul", True), ("Quantize", False)]}, "Two copies",
    ),
    "number_formats": partial(
        figures.number_formats, {"our largest sum of squares": 5e4}, "fp16 ends early"
    ),
    "roofline": partial(figures.roofline, ROOFS, PRODUCTS, "INT8 at 8 × 128 reaches 74 %"),
    "ledger": partial(figures.ledger, (FIRST, LAST)),
    "breaker": partial(
        figures.breaker, [(0.0, "closed"), (1.4, "open"), (3.0, "closed"), (4.0, "closed")],
        {"the model": [0.5, 3.5], "fallback": [1.5, 2.5]}, title="Open: the fallback answers",
        order=("closed", "half-open", "open"), events={"the model fails": 1.2},
    ),
    "drift": partial(
        figures.drift, {"length": ([250, 2000], [0.5, 1.2]), "vocabulary": ([250, 2000], [0.4, 3])},
        title="Beyond a limit: vocabulary", begins={"films": 0, "products": 500},
    ),
    "factors": partial(
        figures.factors, {"PyTorch,\none by one": 21.0, "no padding": 50.0, "sorted": 127.0},
        "6 × the texts per second", first=1,
    ),
}  # fmt: skip
