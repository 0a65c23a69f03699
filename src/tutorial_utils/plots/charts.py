"""Bars, lines and histograms, and the lines of the values that they are compared with."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tutorial_utils.plots.style import BLUE, GREY, PALETTE, figure, label, plain_log_ticks, styled


@styled
def bars(
    values: Mapping[str, float],
    *,
    title: str,
    unit: str,
    highlight: Collection[str],
    intervals: Mapping[str, tuple[float, float]] | None = None,
    digits: int = 1,
    limits: Mapping[str, float] | None = None,
) -> Figure:
    """Horizontal bars in the given order, each labelled with its value.

    highlight: the bars that the title speaks of, in colour, hatched, and with name and value in
    bold, which marks a bar of length zero too; the others are grey. intervals: low and high end of
    an error bar, by name. limits: values that bars are compared with, by name; each is a line, and
    its name stands above the bars.
    """
    fig, (axis,) = figure(title, size=(9, 0.8 + 0.55 * len(values)))
    clear = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # where a limit's line passes
    for name, value in values.items():
        colour, hatch, weight = (BLUE, "//", "bold") if name in highlight else (GREY, "", "normal")
        axis.barh(name, value, color=colour, hatch=hatch, edgecolor="white")
        low, high = (intervals or {}).get(name, (value, value))
        if low < high:
            whiskers = [[value - low], [high - value]]
            axis.errorbar(value, name, xerr=whiskers, color="black", capsize=4)
        told = {"va": "center", "fontweight": weight, "bbox": clear}
        label(axis, f"{value:,.{digits}f}", (max(value, high), name), (7, 0), **told)
    axis.set_yticks(range(len(values)), list(values))
    for tick in axis.get_yticklabels():
        tick.set_fontweight("bold" if tick.get_text() in highlight else "normal")
    for name, value in (limits or {}).items():
        _line_across(axis, name, value)
    axis.invert_yaxis()
    axis.set_xlabel(unit)
    axis.margins(x=0.12)
    return fig


def _line_across(axis: Axes, name: str, x: float) -> None:
    """A dashed line from bottom to top, with its name above the plot, where nothing else stands."""
    axis.axvline(x, color="black", linestyle="--", linewidth=1.5)
    above = {"xycoords": ("data", "axes fraction"), "ha": "center", "fontsize": 11}
    label(axis, name, (x, 1), (0, 4), **above)


@styled
def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
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
    axis.set(xlabel=x, ylabel=y)
    if log_y:
        axis.set_yscale("log")
        plain_log_ticks(axis.yaxis, (1, 2, 5))
    else:
        axis.set_ylim(0, None)
    axis.margins(x=0.15)
    return fig


@styled
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
    _line_across(axis, f"median {median:.3g}", median)
    axis.set(xlabel=x, ylabel=y)
    return fig
