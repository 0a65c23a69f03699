"""What happened when: points over seconds, and events as lines with their names."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tutorial_utils.plots.style import PALETTE, figure, label, plain_log_ticks, styled


@styled
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


@styled
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
