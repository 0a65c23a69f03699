"""The nine lessons as a map: a road through the core, and the tracks that leave it."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT
from matplotlib.patches import Circle

from tutorial_utils import plots
from tutorial_utils.lessons.drawings.primitives import HEADING, MARGIN, MUTED, Canvas

ALT = (
    "A road with six stations, 00 to 05. Each lesson makes something of what the one before made: "
    "from the baseline in PyTorch to an ONNX file and on to a service. After 05 the road leads "
    "back to the left and forks into two tracks: operations with 06 and 07, and hardware with 08."
)
CORE = {
    "Start here": "baseline",
    "Export": "ONNX file",
    "Fusion": "fused file",
    "Quantization": "int8 file",
    "Tuning": "tuned setup",
    "Serving": "service",
}
PLACES = np.linspace(1.95, 9.2, len(CORE))  # of the stations of the core, from left to right
ROWS = {"Core": 4.85, "Operations": 2.5, "Hardware": 0.95}  # heights of the roads
BACK = 3.65  # height of the road without stations that leads back to the left


def draw() -> Figure:
    canvas = Canvas("Six lessons turn a PyTorch model into a service; two tracks go further", 6.15)
    core, operations, hardware = ROWS.values()
    back = [(PLACES[0], core), *_turn(PLACES[-1] + 0.4, core, BACK, side=1)]
    _road(canvas, [*back, *_turn(2.95, BACK, operations), (PLACES[4], operations)])
    _road(canvas, [back[-1], *_turn(3.2, BACK, hardware), (PLACES[2], hardware)])
    canvas.axis.plot((8, 6.2, 4.4), (BACK,) * 3, ls="", marker=CARETLEFT, color="white", ms=12)
    for number, (x, (name, made)) in enumerate(zip(PLACES, CORE.items(), strict=True)):
        _station(canvas, (x, core), f"{number:02}", name, made)
    _station(canvas, (PLACES[2], operations), "06", "Continuous optimization", "gate in CI", 1.4)
    _station(canvas, (PLACES[4], operations), "07", "Operating", "safe rollout", 1.4)
    _station(canvas, (PLACES[2], hardware), "08", "Other hardware", "GPU file", 1.4)
    for name, y in ROWS.items():
        canvas.text(MARGIN, y, name, size=HEADING, bold=True, align="left")
    canvas.text(MARGIN, core - 0.58, "you make", color=MUTED, align="left")
    return canvas.fig


def _turn(x: float, above: float, below: float, side: int = -1) -> list:
    """Half a circle from one row down to another: left of x, or to its right with side 1."""
    radius, middle = (above - below) / 2, (above + below) / 2
    angles = np.linspace(np.pi / 2, -np.pi / 2, 60)
    return [(x + side * radius * np.cos(a), middle + radius * np.sin(a)) for a in angles]


def _road(canvas: Canvas, points: list) -> None:
    for width, color, style in ((18, "#C4C4C4", "-"), (1.5, "white", (0, (6, 5)))):
        canvas.axis.plot(
            *zip(*points, strict=True), color=color, linewidth=width, linestyle=style,
            solid_capstyle="round", zorder=1,
        )  # fmt: skip


def _station(canvas: Canvas, place: tuple, number: str, name: str, made: str, wide=1.38) -> None:
    x, y = place
    core = y == ROWS["Core"]  # stations of the tracks are hollow
    face, edge, ink = (plots.BLUE, "white", "white") if core else ("white", plots.BLUE, plots.BLUE)
    canvas.axis.add_patch(
        Circle(place, 0.28, facecolor=face, edgecolor=edge, linewidth=3, zorder=3)
    )
    canvas.text(x, y, number, color=ink, bold=True, size=HEADING)
    canvas.text(x, y + 0.48, name, bold=True)
    canvas.sheet(x, y - 0.58, wide, 0.42, made)
