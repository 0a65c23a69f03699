"""A Pareto front: points of which each has its name where there is room for it."""

import itertools
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from tutorial_utils.plots.style import BLUE, GREY, figure, styled

# Where a name is tried beside its point: right, left, above, below, and between these.
_SIDES = (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)


@styled
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
