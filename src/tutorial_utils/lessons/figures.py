"""Every plot of the series: one style, direct labels, colours that the colour-blind can tell apart.

Each function returns a Matplotlib figure; ``show`` puts it into a notebook with its alt text.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import networkx
import numpy as np
from matplotlib.figure import Figure

from tutorial_utils.bench.roofline import Roofs, Work
from tutorial_utils.bench.timer import Comparison
from tutorial_utils.graph import inspection
from tutorial_utils.lessons.ledger import Row
from tutorial_utils.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    PINK,
    bars,
    figure,
    mark_events,
    plain_log_ticks,
)

_OP_COLOURS = {
    "MatMul": BLUE, "Gemm": BLUE, "MatMulInteger": BLUE, "DynamicQuantizeMatMul": BLUE,
    "Attention": GREEN, "QAttention": GREEN, "MultiHeadAttention": GREEN,
    "LayerNormalization": ORANGE, "SkipLayerNormalization": ORANGE,
    "Softmax": PINK, "Gelu": PINK, "BiasGelu": PINK, "FastGelu": PINK, "Erf": PINK,
}  # fmt: skip


def comparison(result: Comparison, title: str) -> Figure:
    """Median latency of each candidate with the span from p50 to p95."""
    timings = result.timings
    return bars(
        {name: t.p50_ms for name, t in timings.items()},
        title=title,
        unit="milliseconds a call (bar: p50, whisker: to p95)",
        intervals={name: (t.p50_ms, max(t.p50_ms, t.p95_ms)) for name, t in timings.items()},
    )


def _layers(flow: networkx.DiGraph) -> dict[int, tuple[float, float]]:
    """Where to draw each node: a row for each step of the flow, each node below what feeds it."""
    place: dict[int, tuple[float, float]] = {}
    for depth, nodes in enumerate(networkx.topological_generations(flow)):

        def centre(node: int) -> float:
            feeders = [place[before][0] for before in flow.predecessors(node)]
            return sum(feeders) / len(feeders) if feeders else 0.0

        ordered = sorted(nodes, key=centre)
        for i, node in enumerate(ordered):
            place[node] = (i - (len(ordered) - 1) / 2, -float(depth))
    return place


def encoder_layers(files: Mapping[str, Path], title: str, layer: int = 0) -> Figure:
    """One encoder layer of each file drawn side by side, data flowing downwards."""
    fig, axes = figure(title, columns=len(files), size=(5.2 * len(files), 9))
    for axis, (name, path) in zip(axes, files.items(), strict=True):
        flow = inspection.encoder_layer(path, layer)
        place = _layers(flow)
        networkx.draw_networkx_edges(
            flow, place, ax=axis, edge_color=GREY, node_size=500, arrowsize=9
        )
        for node, (x, y) in place.items():
            op = flow.nodes[node]["op"]
            colour = _OP_COLOURS.get(op)
            axis.text(
                x, y, op, ha="center", va="center", fontsize=8 if len(flow) > 20 else 11,
                color="white" if colour else "black",
                bbox={"boxstyle": "round", "facecolor": colour or "white", "edgecolor": GREY},
            )  # fmt: skip
        axis.set_title(f"{name}: {len(flow) - 1} nodes", fontsize=12, loc="center")
        axis.margins(0.12, 0.04)
        axis.axis("off")
    return fig


def roofline(roofs: Roofs, points: Mapping[str, tuple[str, Work, float]], title: str) -> Figure:
    """Operations a second against operations a byte, below the roofs of the machine.

    points: name → (kind of product, work of one run, milliseconds of it).
    """
    fig, (axis,) = figure(title, size=(9, 5.5))
    intensities = [work.operations / work.bytes for _, work, _ in points.values()]
    xs = np.geomspace(min(intensities) / 4, max(intensities) * 4, 200)
    colours = dict(zip(roofs.operations, PALETTE, strict=False))
    for (kind, roof), colour in zip(roofs.operations.items(), PALETTE, strict=False):
        axis.plot(xs, np.minimum(roof, roofs.bytes * xs / 1e3), color=colour, linewidth=2)
        axis.annotate(
            f"{kind}: {roof:.2f}", (xs[-1], roof), xytext=(0, 5), textcoords="offset points",
            ha="right", color=colour,
        )  # fmt: skip
    for (name, (kind, work, milliseconds)), marker in zip(
        points.items(), itertools.cycle("osD^vP"), strict=False
    ):
        reached = work.operations / milliseconds / 1e9
        x = work.operations / work.bytes
        axis.plot(x, reached, marker=marker, color=colours[kind], markersize=9)
        axis.annotate(
            f"{name}: {reached / roofs.operations[kind]:.0%}", (x, reached), xytext=(8, -12),
            textcoords="offset points",
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    plain_log_ticks(axis.xaxis, (1, 2, 5))
    plain_log_ticks(axis.yaxis, (1, 2, 5))
    axis.set_xlabel("operations for each byte of weights read")
    axis.set_ylabel("10¹² operations a second")
    axis.margins(x=0.02, y=0.15)
    return fig


def ledger(rows: Sequence[Row]) -> Figure:
    """The steps one after the other, relative to PyTorch; steps that do not pay are grey, hatched.

    A step is in colour where, side by side with the step before it, it was measurably faster. Bars
    are factors measured in one run with PyTorch: milliseconds of different hours do not compare.
    """
    size = (9, 2.4 + 1.1 * len(rows))
    last = rows[-1]
    more, sooner = last.labelling.inverse().ratio, last.latency.inverse().ratio
    gained = f"{more:.1f} × the texts a second, {sooner:.1f} × sooner"
    title = f"From {rows[0].step} to {last.step}: {gained}" if len(rows) > 1 else "The reference"
    fig, (left, right) = figure(title, rows=2, size=size)
    times = [(r.latency.ratio, f"{r.latency_ms:,.1f} ms", r.latency_verdict) for r in rows]
    texts = [
        (r.labelling.inverse().ratio, f"{r.texts_per_s:,.0f}/s", r.throughput_verdict) for r in rows
    ]
    same = "PyTorch in the same run = 1"
    panels = (
        (left, times, f"p50 latency, {same}; BERT-base shape 1 × 128 (less is better)"),
        (right, texts, f"texts a second, {same}; fine-tuned classifier (more is better)"),
    )
    for axis, cells, unit in panels:
        for i, (factor, value, verdict) in enumerate(cells):
            pays = verdict == "faster"
            axis.barh(
                i,
                factor,
                color=BLUE if pays else GREY,
                hatch="" if pays else "//",
                edgecolor="white",
            )
            note = f"{factor:.2f} × PyTorch  ({value})" if verdict != "reference" else value
            note += "" if pays or verdict == "reference" else f"  {verdict}"
            axis.annotate(note, (factor, i), xytext=(6, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(len(rows)), [row.step for row in rows])
        axis.invert_yaxis()
        axis.set_xlabel(unit)
        axis.margins(x=0.7)
    return fig


def breaker(
    states: Sequence[tuple[float, str]],
    answers: Mapping[str, Sequence[float]],
    *,
    title: str,
    order: Sequence[str],
    events: Mapping[str, float] | None = None,
) -> Figure:
    """A breaker's state over time, and below it who answered when.

    states: (seconds, state) of each change, and one at the end. order: states from the bottom up.
    answers: who → seconds of each answer.
    """
    fig, (upper, lower) = figure(title, rows=2, size=(9, 5))
    seconds = [moment for moment, _ in states]
    upper.step(seconds, [order.index(state) for _, state in states], where="post", color=BLUE)
    upper.set_yticks(range(len(order)), order)
    upper.set_ylim(-0.3, len(order) - 0.7)
    for i, ((_, moments), marker, colour) in enumerate(
        zip(answers.items(), "oxsD^", PALETTE, strict=False)
    ):
        lower.plot(moments, [i] * len(moments), marker=marker, color=colour, linestyle="none")
    lower.set_yticks(range(len(answers)), list(answers))
    lower.set_ylim(-0.5, len(answers) - 0.5)
    lower.set_xlabel("seconds")
    for axis in (upper, lower):
        axis.set_xlim(min(0.0, *seconds), max(seconds))
    mark_events(upper, events or {})
    return fig


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
    fig, (axis,) = figure(title)
    ends = []
    for (name, (xs, ys)), colour, style in zip(
        ratios.items(), PALETTE, itertools.cycle(["-", "--", "-.", ":"]), strict=False
    ):
        axis.plot(xs, ys, color=colour, linestyle=style, linewidth=2)
        first = [(x, y) for x, y in zip(xs, ys, strict=True) if y > 1][:1]
        axis.plot(*zip(*first, strict=True), marker="o", markersize=9, color=colour)
        ends.append((ys[-1], name, colour, xs[-1]))
    axis.set_ylim(bottom=0)
    gap = axis.get_ylim()[1] * 0.07
    level = -gap
    for y, name, colour, x in sorted(ends):  # names do not overlap where lines end close together
        level = max(y, level + gap)
        axis.annotate(
            name, (x, level), xytext=(8, 0), textcoords="offset points", color=colour, va="center"
        )
    axis.axhline(1, color="black", linewidth=1)
    axis.annotate(
        "limit", (0, 1), xytext=(4, 4), textcoords="offset points", fontsize=11
    )  # above the line, at the left: there the monitor's window is not full yet
    axis.set_xlim(0, max(x for *_, x in ends))
    mark_events(axis, begins)
    axis.set_xlabel("texts")
    axis.set_ylabel("distance from the profile ÷ its limit")
    return fig
