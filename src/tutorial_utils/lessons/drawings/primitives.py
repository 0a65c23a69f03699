"""The visual language of the drawn concepts: a canvas measured in inches, and few shapes on it.

What a shape means is the same in every picture, and each meaning has a hatch or an edge of its
own, so that the pictures can be read in greyscale too:

    WORK     blue, white text       computation that somebody needs
    WASTE    orange, hatched        waiting, padding, what is lost
    DATA     light grey             tensors, files, requests
    KEPT     green, dotted          what is chosen, or comes out better
    REFUSED  pink, dashed edge      what is turned away, or fails
    OTHER    light blue             computation for somebody else
    PLAIN    white                  everything else
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from tutorial_utils import plots

WIDTH = 11.0  # inches of every picture
MARGIN = 0.3  # inches that stay free at the sides
TITLE, HEADING, BODY = 16, 14, 13  # points; nothing is smaller than BODY
INK, MUTED = "#1F1F1F", "#4D4D4D"
MONO = "DejaVu Sans Mono"

Point = tuple[float, float]


@dataclass(frozen=True)
class Paint:
    """How a shape looks. ink: the colour of the text inside. edge: also of the hatch."""

    face: str
    edge: str
    ink: str = INK
    hatch: str = ""
    dashed: bool = False


WORK = Paint(plots.BLUE, "#00486F", ink="white")
WASTE = Paint("#FBE9C6", "#B87C00", hatch="////")
DATA = Paint("#ECECEC", plots.GREY)
KEPT = Paint("#CDEBE1", "#00664B", hatch="..")
REFUSED = Paint("#FBEFF5", "#A8447B", dashed=True)
OTHER = Paint("#C6DFEF", "#00486F")
PLAIN = Paint("white", MUTED)
CELL = replace(WORK, edge="white")  # work in a grid


@dataclass(frozen=True)
class Box:
    """A box that was drawn, by its centre, in inches: where arrows begin and end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y - self.height / 2


class Canvas:
    """An empty picture with its title. All places and sizes are inches from the lower left corner.

    height: of the whole picture; the title takes the upper 0.6 inches.
    """

    def __init__(self, title: str, height: float):
        self.height = height
        self.fig, (self.axis,) = plots.figure(title, size=(WIDTH, height))
        self.fig.set_layout_engine("none")
        self.fig.suptitle(
            title, x=MARGIN / WIDTH, y=1 - 0.17 / height, ha="left", fontsize=TITLE,
            fontweight="bold",
        )  # fmt: skip
        self.axis.set_position((0, 0, 1, 1))
        self.axis.set(xlim=(0, WIDTH), ylim=(0, height))
        self.axis.axis("off")

    def text(
        self, x: float, y: float, text: str, *, size: int = BODY, color: str = INK,
        align: str = "center", bold: bool = False, mono: bool = False, clear: bool = False,
    ) -> None:  # fmt: skip
        """Text whose middle is at the height y; align: of x, "left", "center" or "right".

        clear: on a white ground, for what stands on a line or a hatch.
        """
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        one = "\n" not in text  # then capitals are centred, so that neighbours share a baseline
        self.axis.text(
            x, y - 0.365 * size / 72 if one else y, text, fontsize=size, color=color, ha=align,
            va="baseline" if one else "center", linespacing=1.25,
            fontweight="bold" if bold else "normal", family=MONO if mono else None,
            bbox=ground if clear else None, zorder=5,
        )  # fmt: skip

    def caption(self, text: str) -> None:
        """What the numbers of the picture are of, in its lower left corner."""
        self.text(MARGIN, 0.25, text, color=MUTED, align="left")

    def box(
        self, x: float, y: float, width: float, height: float, text: str = "",
        paint: Paint = PLAIN, **style,
    ) -> Box:  # fmt: skip
        """A rounded box around its centre, with text in its middle; style: as of ``text``.

        Text stands on no hatch: it says itself what the box is.
        """
        corner = f"round,pad=0,rounding_size={min(0.09, height / 4, width / 4)}"
        place = x - width / 2, y - height / 2
        looks = _looks(replace(paint, hatch="") if text else paint)
        self.axis.add_patch(
            FancyBboxPatch(place, width, height, boxstyle=corner, **looks, zorder=2)
        )
        if text:
            self.text(x, y, text, **{"color": paint.ink, **style})
        return Box(x, y, width, height)

    def bar(
        self, x: float, y: float, width: float, height: float, text: str = "",
        paint: Paint = WORK,
    ) -> Box:  # fmt: skip
        """A bar from its lower left corner: a span of time on a lane, or a cell of a grid."""
        self.axis.add_patch(Rectangle((x, y), width, height, **_looks(paint), zorder=2))
        if text:
            self.text(x + width / 2, y + height / 2, text, color=paint.ink)
        return Box(x + width / 2, y + height / 2, width, height)

    def sheet(
        self, x: float, y: float, width: float, height: float, text: str, paint: Paint = DATA
    ) -> Box:
        """A file: a box with a folded corner, around its centre."""
        left, right, low, high = x - width / 2, x + width / 2, y - height / 2, y + height / 2
        fold = 0.14
        outline = [
            (left, low), (right, low), (right, high - fold), (right - fold, high), (left, high),
        ]  # fmt: skip
        corner = [(right, high - fold), (right - fold, high - fold), (right - fold, high)]
        self.axis.add_patch(Polygon(outline, **_looks(paint), zorder=2))
        self.axis.add_patch(Polygon(corner, facecolor="white", edgecolor=paint.edge, zorder=2))
        self.text(x - fold / 3, y, text, color=paint.ink)
        return Box(x, y, width, height)

    def arrow(
        self, start: Point, end: Point, *, color: str = INK, wide: float = 2.0,
        dashed: bool = False, both: bool = False,
    ) -> None:  # fmt: skip
        """An arrow; wide: its line, in points. both: a head at each end."""
        arrow = FancyArrowPatch(
            start, end, arrowstyle="<|-|>" if both else "-|>", mutation_scale=8 + 4 * wide,
            color=color, linewidth=wide, linestyle="--" if dashed else "-", shrinkA=3, shrinkB=3,
            zorder=3,
        )  # fmt: skip
        self.axis.add_patch(arrow)

    def line(
        self, points: Sequence[Point], *, color: str = MUTED, wide: float = 1.5, style: str = "-"
    ) -> None:
        """Straight lines from point to point; style: as Matplotlib's."""
        self.axis.plot(*zip(*points, strict=True), style, color=color, linewidth=wide, zorder=1)

    def lane(self, y: float, height: float, name: str) -> None:
        """A band across the picture, named at its left, for what happens in one place."""
        ground = Paint("#F6F6F6", "#D0D0D0")
        width = WIDTH - 2 * MARGIN
        self.axis.add_patch(Rectangle((MARGIN, y), width, height, **_looks(ground, 1.0), zorder=0))
        self.text(MARGIN + 0.15, y + height / 2, name, align="left", bold=True)

    def key(self, x: float, y: float, paint: Paint, text: str) -> None:
        """What a paint means here: a swatch whose left edge is at x, and the meaning beside it."""
        self.bar(x, y - 0.11, 0.34, 0.22, paint=paint)
        self.text(x + 0.45, y, text, align="left")

    def dot(
        self, x: float, y: float, paint: Paint = WORK, marker: str = "o", size: float = 10
    ) -> None:
        """A point of data; size: in points."""
        self.axis.plot(
            [x], [y], marker, markersize=size, color=paint.face, markeredgecolor=paint.edge,
            markeredgewidth=1.5, zorder=4,
        )  # fmt: skip

    def bracket(self, start: float, end: float, y: float, text: str, *, above: bool = True) -> None:
        """A bracket over (or under) the span from start to end, and what it says."""
        tip = -0.1 if above else 0.1
        self.line([(start, y + tip), (start, y), (end, y), (end, y + tip)], color=INK)
        self.text((start + end) / 2, y - 2.2 * tip, text)


def _looks(paint: Paint, wide: float = 1.5) -> dict:
    return {
        "facecolor": paint.face, "edgecolor": paint.edge, "hatch": paint.hatch,
        "linewidth": wide, "linestyle": "--" if paint.dashed else "-",
    }  # fmt: skip
