"""Figures of the lessons, in the style of ``plots``. Each function returns a Matplotlib figure."""

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from pathlib import Path

import networkx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as MplPath

from tutorial_utils import plots
from tutorial_utils.bench.roofline import Roofs, Work
from tutorial_utils.bench.timer import Comparison
from tutorial_utils.graph import inspection
from tutorial_utils.lessons.ledger import Row
from tutorial_utils.plots import BLUE, GREEN, GREY, ORANGE, PALETTE, PINK, styled

_OP_COLOURS = {
    "MatMul": BLUE, "Gemm": BLUE, "MatMulInteger": BLUE, "DynamicQuantizeMatMul": BLUE,
    "Attention": GREEN, "QAttention": GREEN, "MultiHeadAttention": GREEN,
    "LayerNormalization": ORANGE, "SkipLayerNormalization": ORANGE,
    "Softmax": PINK, "Gelu": PINK, "BiasGelu": PINK, "FastGelu": PINK, "Erf": PINK,
}  # fmt: skip
LARGEST_FP16 = float(np.finfo(np.float16).max)


def comparison(result: Comparison, title: str) -> Figure:
    """Median latency of each candidate with the span from p50 to p95.

    Marked is what differs measurably from the reference, whose p50 is a line.
    """
    timings = result.timings
    reference = next(iter(timings))
    return plots.bars(
        {name: t.p50_ms for name, t in timings.items()},
        title=title,
        unit="milliseconds a call (bar: p50, whisker: to p95)",
        highlight=[n for n, v in result.verdicts.items() if v.word in ("faster", "slower")],
        intervals={name: (t.p50_ms, t.p95_ms) for name, t in timings.items()},
        limits={reference: timings[reference].p50_ms},
    )


@styled
def encoder_layers(files: Mapping[str, Path], title: str) -> Figure:
    """The first encoder layer of each file drawn side by side, data flowing downwards.

    Residual edges are thick arcs beside the column. Nodes that compute shapes are counted in the
    heading and not drawn, since they carry no data.
    """
    flows = {name: inspection.encoder_layer(path) for name, path in files.items()}
    drawn = {name: flow.subgraph(flow.nodes - _shapes(flow)) for name, flow in flows.items()}
    tallest = max(networkx.dag_longest_path_length(flow) for flow in drawn.values())
    size = (4.3 * len(files), 1.6 + 0.32 * tallest)
    fig, axes = plots.figure(title, columns=len(files), size=size)
    for axis, (name, flow) in zip(axes, drawn.items(), strict=True):
        place = _lanes(flow)
        lowest = max(y for _, y in place.values())
        for before, after in flow.edges:
            _draw_edge(axis, place, before, after, flow.nodes[after]["op"])
        for node, op in flow.nodes(data="op"):
            colour = _OP_COLOURS.get(op)
            axis.text(
                *place[node], op, ha="center", va="center", fontsize=11 if lowest > 15 else 14,
                color="white" if colour else "black", zorder=3,
                bbox={"boxstyle": "round", "facecolor": colour or "white", "edgecolor": GREY},
            )  # fmt: skip
        hidden = len(flows[name]) - len(flow)
        note = f"\n({hidden} that compute shapes are not drawn)" if hidden else ""
        axis.set_title(
            f"{name}: {len(flows[name]) - 1} nodes{note}", fontsize=13, fontweight="normal"
        )
        axis.set(xlim=(-1.7, 2.6), ylim=(lowest + 0.6, -0.6))
        axis.axis("off")
    return fig


def _shapes(flow: networkx.DiGraph) -> set:
    """The nodes that compute a shape: ``Shape``, and all that depends on such nodes alone."""
    found: set = set()
    for node in networkx.topological_sort(flow):
        before = set(flow.predecessors(node))
        if flow.nodes[node]["op"] == "Shape" or (before and before <= found):
            found.add(node)
    return found


def _lanes(flow: networkx.DiGraph) -> dict[object, tuple[float, int]]:
    """A place for each node: its generation is the row, and it stays in the lane of its input."""
    place: dict[object, tuple[float, int]] = {}
    for row, generation in enumerate(networkx.topological_generations(flow)):
        lanes: dict[float, list] = {}
        for node in sorted(generation):
            above = [place[before][0] for before in flow.predecessors(node)]
            lanes.setdefault(min(above, key=abs, default=0.0), []).append(node)
        for lane, nodes in lanes.items():
            for i, node in enumerate(nodes):
                place[node] = lane + 1.25 * (i - (len(nodes) - 1) / 2), row
    return place


def _draw_edge(axis: Axes, place: Mapping, before: object, after: object, op: str) -> None:
    """A line to the next row, or an arc beside the column where other nodes are in between."""
    (x, top), (end, bottom) = place[before], place[after]
    if bottom - top == 1 or x != end:
        axis.plot((x, x, end), (top, bottom - 1, bottom), color=GREY, zorder=1)
        return
    residual = op in ("Add", "SkipLayerNormalization")
    passed = [at for at, row in place.values() if top < row < bottom]
    far = max(passed, default=x) + 1.1 if residual else x + 0.6
    look = {"ec": "black", "lw": 3} if residual else {"ec": GREY, "lw": 1.5}
    path = MplPath(
        [(x, top), (far, top), (far, top + 0.8), (far, bottom - 0.8), (far, bottom), (x, bottom)],
        [MplPath.MOVETO, *[MplPath.CURVE3] * 2, MplPath.LINETO, *[MplPath.CURVE3] * 2],
    )
    axis.add_patch(PathPatch(path, fc="none", zorder=1, **look))
    if residual:
        middle = (far, (top + bottom) / 2)
        plots.label(axis, "residual", middle, (4, 0), rotation=90, va="center", fontsize=12)


@styled
def placement(rows: Mapping[str, Sequence[tuple[str, bool]]], title: str) -> Figure:
    """Chains of operators, each on the GPU (True) or the CPU, with an arrow for each copy.

    A chain begins and ends in the memory of the CPU.
    """
    fig, axes = plots.figure(title, rows=len(rows), size=(11, 2.1 * len(rows)))
    for axis, (name, chain) in zip(axes, rows.items(), strict=True):
        places = [("inputs", False), *chain, ("answer", False)]
        for x, (op, on_gpu) in enumerate(places):
            axis.text(
                x, on_gpu, op, ha="center", va="center", fontsize=11,
                color="white" if on_gpu else "black",
                bbox={"boxstyle": "round,pad=0.4", "facecolor": GREEN if on_gpu else "white",
                      "edgecolor": GREY},
            )  # fmt: skip
        sides = [on_gpu for _, on_gpu in places]
        for x, (before, after) in enumerate(pairwise(sides)):
            if before == after:
                axis.plot((x, x + 1), (before, after), color=GREY, zorder=1)
            else:
                arrow = {"arrowstyle": "->", "color": ORANGE, "lw": 3, "shrinkA": 20, "shrinkB": 20}
                axis.annotate("", (x + 1, after), (x, before), arrowprops=arrow)
        copies = sum(a != b for a, b in pairwise(sides))
        axis.set_title(f"{name}: {copies} copies (thick arrows)", fontsize=12, loc="left")
        axis.set(xlim=(-0.6, len(places) - 0.4), ylim=(-0.5, 1.5))
        axis.set_yticks((0, 1), ("CPU", "GPU"))
        axis.set_xticks(())
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    return fig


@styled
def number_formats(sums: Mapping[str, float], title: str) -> Figure:
    """The distance between neighbouring numbers in fp16 and bf16, and where sums of squares lie.

    sums: the largest sum of squares by name; each is a vertical line.
    """
    fig, (axis,) = plots.figure(title, size=(9.5, 4.8))
    x = np.logspace(-3, 5.6, 400)
    inside = x[x < LARGEST_FP16]
    exponent = np.floor(np.log2(x))
    for name, xs, steps, colour, style in (
        ("fp16", inside, np.spacing(inside.astype(np.float16)).astype(float), BLUE, "-"),
        ("bf16", x, 2 ** (exponent - 7), ORANGE, "--"),
    ):
        axis.plot(xs, steps, style, color=colour, lw=2.5)
        plots.label(axis, name, (xs[-1], steps[-1]), (6, -4), color=colour, fontweight="bold")
    axis.axvline(LARGEST_FP16, color="black", linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="value", ylabel="distance to the next number")
    plots.label(axis, "fp16 ends:\n65,504", (LARGEST_FP16, 1e-4), (6, 0))
    for height, (name, value) in enumerate(sums.items()):
        axis.axvline(value, color=PINK, lw=1.5)
        plots.label(axis, name, (value, 1e-5), (-6, 20 * height), ha="right", color=PINK)
    return fig


@styled
def roofline(roofs: Roofs, points: Mapping[str, tuple[str, Work, float]], title: str) -> Figure:
    """Operations per second against operations a byte, below the roofs of the machine.

    points: name → (kind of product, work of one run, milliseconds of it).
    """
    fig, (axis,) = plots.figure(title, size=(9, 5.5))
    intensities = [work.operations / work.bytes for _, work, _ in points.values()]
    xs = np.geomspace(min(intensities) / 4, max(intensities) * 4, 200)
    colours = dict(zip(roofs.operations, PALETTE, strict=False))
    for kind, roof in roofs.operations.items():
        look = {"color": colours[kind]}
        axis.plot(xs, np.minimum(roof, roofs.bytes * xs / 1e3), linewidth=2, **look)
        plots.label(axis, f"{kind}: {roof:.2f}", (xs[-1], roof), (0, 5), ha="right", **look)
    for (name, (kind, work, milliseconds)), x, marker in zip(
        points.items(), intensities, cycle("osD^vP"), strict=False
    ):
        reached = work.operations / milliseconds / 1e9
        axis.plot(x, reached, marker=marker, color=colours[kind], markersize=9)
        plots.label(axis, f"{name}: {reached / roofs.operations[kind]:.0%}", (x, reached), (8, -12))
    axis.set(xscale="log", yscale="log", ylabel="10¹² operations per second")
    axis.set_xlabel("operations for each byte of weights read")
    plots.plain_log_ticks(axis.xaxis, (1, 2, 5))
    plots.plain_log_ticks(axis.yaxis, (1, 2, 5))
    axis.margins(x=0.02, y=0.15)
    return fig


@styled
def ledger(rows: Sequence[Row]) -> Figure:
    """The steps one after the other, relative to PyTorch; steps that pay are in colour, hatched.

    A step pays where, side by side with the step before it, it was measurably faster. Bars
    are factors measured in one run with PyTorch: milliseconds of different hours do not compare.
    """
    last, same = rows[-1], "PyTorch in the same run = 1"
    more, sooner = last.labelling.inverse().ratio, last.latency.inverse().ratio
    gained = f"{more:.1f} × the texts per second, {sooner:.1f} × faster"
    title = f"From {rows[0].step} to {last.step}: {gained}" if len(rows) > 1 else "The reference"
    fig, (upper, lower) = plots.figure(title, rows=2, size=(9, 2.4 + 1.1 * len(rows)))
    upper.set_xlabel(f"p50 latency, {same}; BERT-base shape 1 × 128 (less is better)")
    lower.set_xlabel(f"texts per second, {same}; fine-tuned classifier (more is better)")
    for row in rows:
        texts = row.labelling.inverse().ratio
        for axis, factor, value, verdict in (
            (upper, row.latency.ratio, f"{row.latency_ms:,.1f} ms", row.latency_verdict),
            (lower, texts, f"{row.texts_per_s:,.0f}/s", row.throughput_verdict),
        ):
            colour, hatch = (BLUE, "//") if verdict == "faster" else (GREY, "")
            axis.barh(row.step, factor, color=colour, hatch=hatch, edgecolor="white")
            note = f"{factor:.2f} × PyTorch  ({value})" if verdict != "reference" else value
            note += "" if verdict in ("faster", "reference") else f"  {verdict}"
            plots.label(axis, note, (factor, row.step), (6, 0), va="center")
    for axis in (upper, lower):
        axis.invert_yaxis()
        axis.margins(x=0.7)
    return fig


@styled
def breaker(
    states: Sequence[tuple[float, str]],
    answers: Mapping[str, Sequence[float]],
    *,
    title: str,
    order: Sequence[str],
    events: Mapping[str, float],
) -> Figure:
    """A breaker's state over time, and below it who answered when.

    states: (seconds, state) of each change, and one at the end. order: states from the bottom up.
    answers: who → seconds of each answer.
    """
    fig, (upper, lower) = plots.figure(title, rows=2, size=(9, 5))
    seconds = [moment for moment, _ in states]
    upper.step(seconds, [order.index(state) for _, state in states], where="post", color=BLUE)
    upper.set_yticks(range(len(order)), order)
    upper.set_ylim(-0.3, len(order) - 0.7)
    for i, (moments, marker) in enumerate(zip(answers.values(), "oxsD^", strict=False)):
        lower.plot(moments, [i] * len(moments), marker=marker, linestyle="none")
    lower.set_yticks(range(len(answers)), list(answers))
    lower.set_ylim(-0.5, len(answers) - 0.5)
    lower.set_xlabel("seconds")
    for axis in (upper, lower):
        axis.set_xlim(min(0.0, *seconds), max(seconds))
    plots.mark_events(upper, events)
    return fig


@styled
def drift(
    ratios: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    begins: Mapping[str, float],
) -> Figure:
    """How far the traffic is from its profile, as a share of each feature's limit.

    ratios: feature → (texts so far, distance ÷ limit); a dot marks where it first exceeds 1.
    begins: source of texts → where it begins.
    """
    fig, (axis,) = plots.figure(title)
    ends = []
    for (name, (xs, ys)), colour, style in zip(
        ratios.items(), PALETTE, cycle(["-", "--", "-.", ":"]), strict=False
    ):
        first = [i for i, y in enumerate(ys) if y > 1][:1]
        look = {"color": colour, "linestyle": style, "linewidth": 2, "markersize": 9}
        axis.plot(xs, ys, marker="o", markevery=first, **look)
        ends.append((ys[-1], name, colour, xs[-1]))
    axis.set_ylim(bottom=0)
    gap = axis.get_ylim()[1] * 0.07
    level = -gap
    for y, name, colour, x in sorted(ends):  # names do not overlap where lines end close together
        level = max(y, level + gap)
        plots.label(axis, name, (x, level), (8, 0), color=colour, va="center")
    axis.axhline(1, color="black", linewidth=1)
    plots.label(axis, "limit", (0, 1), (4, 4), fontsize=11)  # the monitor's window is not full here
    axis.set_xlim(0, max(x for *_, x in ends))
    plots.mark_events(axis, begins)
    axis.set(xlabel="texts", ylabel="distance from the profile ÷ its limit")
    return fig


@styled
def factors(rates: Mapping[str, float], title: str, first: int) -> Figure:
    """How a rate grows from step to step, on a scale where equal factors have equal lengths.

    rates: what was done → texts per second; each step is added to those before it. first: how many
    steps after the beginning have a colour of their own.
    """
    fig, (axis,) = plots.figure(title, size=(9.5, 1.4 + 0.75 * len(rates)))
    (name, begin), *steps = rates.items()
    axis.plot(begin, name, "o", color=GREY, markersize=11)
    plots.label(axis, f"{begin:,.0f} a second", (begin, name), (10, 0), va="center")
    before = begin
    for place, (name, rate) in enumerate(steps):
        colour, hatch = (BLUE, "") if place < first else (ORANGE, "//")
        grown = rate - before
        axis.barh(name, grown, left=before, color=colour, hatch=hatch, edgecolor="white")
        axis.axvline(rate, color=GREY, linestyle=":", linewidth=1, zorder=0)
        told = f"× {rate / before:.2f}  ({rate:,.0f} a second)"
        plots.label(axis, told, (max(rate, before), name), (6, 0), va="center")
        before = rate
    axis.barh("all together", before - begin, left=begin, color="black", height=0.35)
    told, at = f"× {before / begin:.1f}", (before, "all together")
    plots.label(axis, told, at, (6, 0), va="center", fontweight="bold")
    axis.set(xscale="log", xlabel="texts per second; equal lengths are equal factors")
    axis.set_xlim(0.8 * begin, 6 * max(rates.values()))
    plots.plain_log_ticks(axis.xaxis, (1, 2, 5))
    axis.invert_yaxis()
    return fig
