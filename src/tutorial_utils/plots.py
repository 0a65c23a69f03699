"""Charts in one style: direct labels, and colours that colour-blind readers can distinguish.

Each function returns a Matplotlib figure; ``show`` puts it into a notebook with its alt text.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot, rcsetup, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# Okabe and Ito's palette; every use of colour is doubled by a marker, a hatch or a label.
PALETTE = BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#8C8C8C"
# Where a name is tried beside its point: right, left, above, below, and between these.
_SIDES = (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)
STYLE: dict[Any, Any] = {
    "figure.figsize": (9, 4.5),
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.size": 12,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": rcsetup.cycler(color=PALETTE),
}


def figure(title: str, *, rows: int = 1, columns: int = 1, size=None) -> tuple[Figure, np.ndarray]:
    """A figure in the course's style and its axes (a flat array); the title says the finding.

    A title that is wider than the figure is broken into lines.
    """
    with matplotlib.rc_context(STYLE):
        fig, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    pyplot.close(fig)  # the notebook shows it once, through ``show``
    fig.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold", wrap=True)
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


def label(axis: Axes, text: str, at: tuple, offset: tuple[float, float], **style) -> None:
    """Write ``text`` at the point ``at`` of the data, moved by ``offset`` typographic points.

    The y of ``at`` is a number, or a name on an axis of names.
    """
    axis.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def bars(
    values: Mapping[str, float],
    *,
    title: str,
    unit: str,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    highlight: Sequence[str] = (),
    digits: int = 1,
    limits: Mapping[str, float] | None = None,
) -> Figure:
    """Horizontal bars in the given order, each labelled with its value.

    intervals: low and high end of an error bar, by name. highlight: names drawn in colour and
    hatched, the others grey; all in colour when empty. limits: values that bars are compared
    with, by name; each is a line, and its name stands above the bars.
    """
    fig, (axis,) = figure(title, size=(9, 0.8 + 0.55 * len(values)))
    for name, value in values.items():
        marked = not highlight or name in highlight
        colour, hatch = (BLUE, "//" if highlight else "") if marked else (GREY, "")
        axis.barh(name, value, color=colour, hatch=hatch, edgecolor="white")
        low, high = (intervals or {}).get(name, (value, value))
        if low < high:
            whiskers = [[value - low], [high - value]]
            axis.errorbar(value, name, xerr=whiskers, color="black", capsize=4)
        label(axis, f"{value:,.{digits}f}", (max(value, high), name), (6, 0), va="center")
    for name, value in (limits or {}).items():
        axis.axvline(value, color="black", linestyle="--", linewidth=1)
        at_top = {"xycoords": ("data", "axes fraction"), "ha": "center", "fontsize": 11}
        label(axis, name, (value, 1), (0, 4), **at_top)
    axis.invert_yaxis()
    axis.set_xlabel(unit)
    axis.margins(x=0.12)
    return fig


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x: str,
    y: str,
    log_x: bool = False,
    limits: Mapping[str, float] | None = None,
) -> Figure:
    """Lines through (x, y) points, each with its own marker and its name at its end.

    limits: values of y that the lines are compared with, by name; each is a dashed line.
    """
    fig, (axis,) = figure(title)
    for (name, (xs, ys)), marker, colour in zip(series.items(), "osD^v", PALETTE, strict=False):
        axis.plot(xs, ys, marker=marker, color=colour)
        label(axis, name, (xs[-1], ys[-1]), (8, 0), color=colour)
    if log_x:
        axis.set_xscale("log", base=2)
        ticks = sorted({value for xs, _ in series.values() for value in xs})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    for name, value in (limits or {}).items():
        axis.axhline(value, color="black", linestyle="--", linewidth=1)
        label(axis, name, (0, value), (5, 4), xycoords=("axes fraction", "data"), fontsize=11)
    axis.set(xlabel=x, ylabel=y, ylim=(0, None))
    axis.margins(x=0.15)
    return fig


def histogram(values: Sequence[float], *, title: str, x: str, y: str) -> Figure:
    """A distribution with its median marked.

    Bins of whole numbers are as wide as a whole number: others would hold now one, now two.
    """
    fig, (axis,) = figure(title, size=(9, 3))
    edges = np.histogram_bin_edges(values, 40)
    if np.array_equal(values, np.rint(values)):
        step = np.ceil(edges[1] - edges[0])
        edges = np.arange(min(values) - 0.5, max(values) + step + 0.5, step)
    axis.hist(values, bins=edges, color=BLUE, edgecolor="white")
    median = float(np.median(values))
    axis.axvline(median, color="black", linestyle="--")
    label(axis, f"median {median:.3g}", (median, axis.get_ylim()[1]), (5, -12))
    axis.set(xlabel=x, ylabel=y)
    return fig


def front(
    points: Mapping[str, tuple[float, float]], best: Sequence[str], *, title: str, x: str, y: str
) -> Figure:
    """Named points where less is better on both axes; those of ``best`` in colour and joined.

    Each name stands beside its point, where it touches no point, no line and no other name.
    """
    fig, (axis,) = figure(title)
    chosen = sorted(points[name] for name in best)
    axis.step(*zip(*chosen, strict=True), where="post", color=BLUE, linestyle=":")
    for name, place in points.items():
        colour, marker = (BLUE, "o") if name in best else (GREY, "x")
        axis.plot(*place, marker, color=colour, markersize=10, clip_on=False)
    axis.margins(x=0.15, y=0.15)
    axis.set(xlabel=x, ylabel=y, xlim=(0, None), ylim=(0, None))
    fig.draw_without_rendering()  # now the pixels of each point are known
    taken = [Bbox((p - 9, p + 9)) for p in axis.transData.transform(list(points.values()))]
    for (left, high), (right, low) in itertools.pairwise(axis.transData.transform(chosen)):
        taken += [Bbox(((left, high - 2), (right, high + 2)))]
        taken += [Bbox(((right - 2, low), (right + 2, high)))]
    for name, place in sorted(points.items(), key=lambda item: item[1]):
        shade = BLUE if name in best else "black"
        taken.append(_name_beside(axis, name, place, taken, color=shade))
    return fig


def _name_beside(axis: Axes, text: str, at: tuple, taken: Sequence[Bbox], **style) -> Bbox:
    """Write ``text`` as near to the point ``at`` as it finds room; return where it stands."""
    written = axis.annotate(text, at, xytext=(0, 0), textcoords="offset points", **style)
    written.set_in_layout(False)  # the axes stay as they are
    for distance, (dx, dy) in itertools.product((9, 18, 30, 44, 60), _SIDES):
        written.set(x=distance * dx, y=distance * dy)
        written.set(ha={1: "left", 0: "center", -1: "right"}[dx], va="center_baseline")
        box = written.get_window_extent()
        right = axis.figure.bbox.x1 - 8
        inside = box.x0 > axis.bbox.x0 and box.y0 > axis.bbox.y0 and box.x1 < right
        if inside and box.count_overlaps(taken) == 0:
            break
    return box


def plain_log_ticks(scale: Axis, digits: Sequence[int]) -> None:
    """0.5 and 200 in place of 5 × 10⁻¹ and 2 × 10², at the multiples that ``digits`` name."""
    scale.set_major_locator(ticker.LogLocator(subs=digits))
    scale.set_major_formatter("{x:g}")
    scale.set_minor_formatter(ticker.NullFormatter())


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
        axis.plot(xs, ys, marker, color=colour, markersize=6, alpha=0.8, label=name)
    if log_y:
        axis.set_yscale("log")
        plain_log_ticks(axis.yaxis, (1, 3))
    else:
        axis.set_ylim(bottom=0)
    mark_events(axis, events or {})
    axis.set(xlabel="seconds", ylabel=y)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(points), frameon=False)
    return fig


def mark_events(axis: Axes, events: Mapping[str, float]) -> None:
    """Vertical lines, named above the plot's points: a name below another one near its left."""
    left, right = axis.get_xlim()
    level, rows, before = 0, 0, -np.inf
    for name, moment in sorted(events.items(), key=lambda event: event[1]):
        level = level + 1 if moment - before < 0.2 * (right - left) else 0
        rows, before = max(rows, level + 1), moment
        late = moment > left + 0.85 * (right - left)
        axis.axvline(moment, color="black", linestyle=":", linewidth=1)
        label(
            axis, name, (moment, 1), (-5 if late else 5, -12 - 20 * level),
            xycoords=("data", "axes fraction"), ha="right" if late else "left", fontsize=11,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    # Space for the names above the points, on any scale.
    wanted = axis.transAxes.transform((0, 1 + 0.12 * rows))
    axis.set_ylim(top=axis.transData.inverted().transform(wanted)[1])
