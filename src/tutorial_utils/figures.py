"""Every plot of the series: one style, direct labels, colours that the colour-blind can tell apart.

Each function returns a Matplotlib figure; ``show`` puts it into a notebook with its alt text.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import networkx
import numpy as np
from matplotlib import pyplot, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from tutorial_utils import graph
from tutorial_utils.benchmark import Comparison
from tutorial_utils.ledger import Row
from tutorial_utils.roofline import Roofs, Work

# Okabe and Ito's palette; every use of colour is doubled by a marker, a hatch or a label.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#8C8C8C"
PALETTE = (BLUE, ORANGE, GREEN, PINK, GREY)
CROWD = 12  # points, beyond which not each can have its name beside it
STYLE = {
    "figure.figsize": (9, 4.5),
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
}
_OP_COLOURS = {
    "MatMul": BLUE, "Gemm": BLUE, "MatMulInteger": BLUE, "DynamicQuantizeMatMul": BLUE,
    "Attention": GREEN, "QAttention": GREEN, "MultiHeadAttention": GREEN,
    "LayerNormalization": ORANGE, "SkipLayerNormalization": ORANGE,
    "Softmax": PINK, "Gelu": PINK, "BiasGelu": PINK, "FastGelu": PINK, "Erf": PINK,
}  # fmt: skip


def figure(title: str, *, rows: int = 1, columns: int = 1, size=None) -> tuple[Figure, np.ndarray]:
    """A figure in the series' style and its axes (a flat array); the title says the finding."""
    with matplotlib.rc_context(STYLE):
        fig, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    pyplot.close(fig)  # the notebook shows it once, through ``show``
    fig.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    return fig, axes.ravel()


def show(fig: Figure, alt: str) -> None:
    """Display ``fig`` in the notebook as a PNG with alt text, which is also its plain-text form."""
    from IPython.display import display

    picture = io.BytesIO()
    fig.savefig(picture, format="png", dpi=90)
    display(
        {"image/png": picture.getvalue(), "text/plain": f"[Figure: {alt}]"},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )


def bars(
    values: Mapping[str, float],
    *,
    title: str,
    unit: str,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    highlight: Sequence[str] = (),
    digits: int = 1,
) -> Figure:
    """Horizontal bars in the given order, each labelled with its value.

    intervals: low and high end of an error bar, by name. highlight: names drawn in colour and
    hatched, the others grey; all in colour when empty.
    """
    fig, (axis,) = figure(title, size=(9, 0.8 + 0.55 * len(values)))
    for i, (name, value) in enumerate(values.items()):
        marked = not highlight or name in highlight
        colour, hatch = (BLUE, "//" if highlight else "") if marked else (GREY, "")
        axis.barh(i, value, color=colour, hatch=hatch, edgecolor="white")
        end = value
        if intervals and name in intervals:
            low, high = intervals[name]
            axis.errorbar(value, i, xerr=[[value - low], [high - value]], color="black", capsize=4)
            end = max(value, high)
        axis.annotate(
            f"{value:,.{digits}f}", (end, i), xytext=(6, 0), textcoords="offset points", va="center"
        )
    axis.set_yticks(range(len(values)), list(values))
    axis.invert_yaxis()
    axis.set_xlabel(unit)
    axis.margins(x=0.12)
    return fig


def comparison(result: Comparison, title: str) -> Figure:
    """Median latency of each candidate with the span from p50 to p95."""
    timings = result.timings
    return bars(
        {name: t.p50_ms for name, t in timings.items()},
        title=title,
        unit="milliseconds a call (bar: p50, whisker: to p95)",
        intervals={name: (t.p50_ms, max(t.p50_ms, t.p95_ms)) for name, t in timings.items()},
    )


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x: str,
    y: str,
    log_x: bool = False,
) -> Figure:
    """Lines through (x, y) points, each with its own marker and its name at its end."""
    fig, (axis,) = figure(title)
    for (name, (xs, ys)), marker, colour in zip(series.items(), "osD^v", PALETTE, strict=False):
        axis.plot(xs, ys, marker=marker, color=colour)
        axis.annotate(
            name, (xs[-1], ys[-1]), xytext=(8, 0), textcoords="offset points", color=colour
        )
    if log_x:
        axis.set_xscale("log", base=2)
        ticks = sorted({value for xs, _ in series.values() for value in xs})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_ylim(bottom=0)
    axis.margins(x=0.15)
    return fig


def histogram(
    samples: Mapping[str, Sequence[float]], *, title: str, x: str, bins: int = 40
) -> Figure:
    """Distributions on common bins, one panel each, with the median marked.

    Bins of whole numbers are as wide as a whole number: others would hold now one, now two.
    """
    fig, axes = figure(title, rows=len(samples), size=(9, 1.2 + 1.8 * len(samples)))
    everything = np.concatenate([np.asarray(values, dtype=float) for values in samples.values()])
    edges = np.histogram_bin_edges(everything, bins)
    if np.array_equal(everything, np.rint(everything)):
        step = np.ceil(edges[1] - edges[0])
        edges = np.arange(everything.min() - 0.5, everything.max() + step + 0.5, step)
    for axis, (name, values), colour in zip(axes, samples.items(), PALETTE, strict=False):
        axis.hist(values, bins=edges, color=colour, edgecolor="white")
        axis.axvline(float(np.median(values)), color="black", linestyle="--")
        axis.set_ylabel(name)
        axis.annotate(
            f"median {np.median(values):.3g}",
            (float(np.median(values)), axis.get_ylim()[1]),
            xytext=(5, -12),
            textcoords="offset points",
        )
    axes[-1].set_xlabel(x)
    return fig


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
        flow = graph.encoder_layer(path, layer)
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
    _plain_log_ticks(axis.xaxis, (1, 2, 5))
    _plain_log_ticks(axis.yaxis, (1, 2, 5))
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
    more, sooner = last.throughput_ratio, 1 / last.latency_ratio
    gained = f"{more:.1f} × the texts a second, {sooner:.1f} × sooner"
    title = f"From {rows[0].step} to {last.step}: {gained}" if len(rows) > 1 else "The reference"
    fig, (left, right) = figure(title, rows=2, size=size)
    times = [(r.latency_ratio, f"{r.latency_ms:,.1f} ms", r.latency_verdict) for r in rows]
    texts = [(r.throughput_ratio, f"{r.texts_per_s:,.0f}/s", r.throughput_verdict) for r in rows]
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


def front(
    points: Mapping[str, tuple[float, float]], best: Sequence[str], *, title: str, x: str, y: str
) -> Figure:
    """Named points where less is better on both axes; those of ``best`` in colour and joined.

    Of a crowd only the best are named, at the side; y is logarithmic there.
    """
    fig, (axis,) = figure(title)
    chosen = sorted(points[name] for name in best)
    axis.step(*zip(*chosen, strict=True), where="post", color=BLUE, linestyle=":")
    if len(points) > CROWD:
        _crowd(axis, points, best)
        axis.set_xlabel(x)
        axis.set_ylabel(y)
        return fig
    widest = max(px for px, _ in points.values())
    for i, (name, (px, py)) in enumerate(sorted(points.items(), key=lambda item: item[1])):
        colour, marker = (BLUE, "o") if name in best else (GREY, "x")
        axis.plot(
            px, py, marker=marker, color=colour, markersize=10, linestyle="none", clip_on=False
        )
        left = px > 0.7 * widest or (i % 2 and px > 0.2 * widest)  # neighbours: one label a side
        axis.annotate(
            name, (px, py), xytext=(-9 if left else 9, 7), textcoords="offset points",
            ha="right" if left else "left", color=colour if name in best else "black",
        )  # fmt: skip
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_xlim(left=0)
    axis.margins(y=0.15)
    axis.set_ylim(bottom=0)
    return fig


def _plain_log_ticks(scale: Axis, digits: Sequence[int]) -> None:
    """0.5 and 200 in place of 5 × 10⁻¹ and 2 × 10², at the multiples that ``digits`` name."""
    scale.set_major_locator(ticker.LogLocator(subs=digits))
    scale.set_major_formatter("{x:g}")
    scale.set_minor_formatter(ticker.NullFormatter())


def _crowd(axis: Axes, points: Mapping[str, tuple[float, float]], best: Sequence[str]) -> None:
    others = [point for name, point in points.items() if name not in best]
    axis.plot(*zip(*others, strict=True), "x", color=GREY, markersize=8, label="others")
    axis.set_yscale("log")
    _plain_log_ticks(axis.yaxis, (1, 2, 5))
    least = min(px for px, _ in points.values())
    axis.set_xlim(left=0.6 * least)
    for i, name in enumerate(sorted(best, key=lambda name: points[name][1])):
        axis.plot(*points[name], "o", color=BLUE, markersize=9)
        axis.annotate(
            name, points[name], xytext=(0.02, 0.08 + 0.1 * i), textcoords="axes fraction",
            va="center", color=BLUE, arrowprops={"arrowstyle": "-", "color": BLUE, "alpha": 0.4},
        )  # fmt: skip
    axis.legend(loc="upper right")


def timeline(
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    y: str,
    log_y: bool = False,
    events: Mapping[str, float] | None = None,
) -> Figure:
    """Points of several kinds (seconds, value), a marker each, with what happened when."""
    fig, (axis,) = figure(title)
    for (name, (xs, ys)), marker, colour in zip(points.items(), "oxsD^", PALETTE, strict=False):
        axis.plot(
            xs, ys, marker=marker, color=colour, linestyle="none", markersize=6, alpha=0.8,
            label=name,
        )  # fmt: skip
    if log_y:
        axis.set_yscale("log")
        _plain_log_ticks(axis.yaxis, (1, 3))
    else:
        axis.set_ylim(bottom=0)
    _mark(axis, events or {})
    axis.set_xlabel("seconds")
    axis.set_ylabel(y)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(points), frameon=False)
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
    _mark(upper, events or {})
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
    _mark(axis, begins)
    axis.set_xlabel("texts")
    axis.set_ylabel("distance from the profile ÷ its limit")
    return fig


def _mark(axis, events: Mapping[str, float]) -> None:
    """Vertical lines, named above the plot's points: a name below another one near its left."""
    left, right = axis.get_xlim()
    ordered = sorted(events.items(), key=lambda event: event[1])
    levels: list[int] = []
    for i, (_, moment) in enumerate(ordered):
        near = i > 0 and moment - ordered[i - 1][1] < 0.2 * (right - left)
        levels.append(levels[-1] + 1 if near else 0)
    rows = max(levels, default=-1) + 1
    # Room for the names above the points, on any scale.
    wanted = axis.transAxes.transform((0, 1 + 0.12 * rows))
    axis.set_ylim(top=axis.transData.inverted().transform(wanted)[1])
    for (name, moment), level in zip(ordered, levels, strict=True):
        late = moment > left + 0.85 * (right - left)
        axis.axvline(moment, color="black", linestyle=":", linewidth=1)
        axis.annotate(
            name, (moment, 1), xycoords=("data", "axes fraction"),
            xytext=(-5 if late else 5, -12 - 20 * level), textcoords="offset points",
            ha="right" if late else "left", fontsize=11,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
