"""Where the scale of activations comes from: each run, or a calibration before all runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    INK,
    KEPT,
    MUTED,
    REFUSED,
    WORK,
    Canvas,
    Paint,
)

ALT = (
    "Values of three runs as dots on grids of steps. On the left each run has a grid of its own, "
    "measured from its values. On the right one grid comes from calibration: it clips a value of "
    "run 2 that lies outside, and is coarse for the small values of run 3."
)
RUNS = {
    "run 1": (-1.0, -0.45, 0.3, 0.85, 1.4),
    "run 2": (-1.2, -0.5, 0.6, 1.4, 2.4),
    "run 3": (-0.35, -0.1, 0.15, 0.4),
}
CALIBRATION = (-1.35, -0.8, 0.2, 0.9, 1.65)
STEPS = 8  # drawn, of the 255 there are
GROUND = Paint("#E6F5F0", KEPT.edge)
ZERO, UNIT = 2.6, 0.86  # inches: where 0.0 is, and how far 1.0 is from it
DYNAMIC, STATIC = (1.05, 2.4, 3.75), (7.15, 8.5, 9.85)  # inches: places of the runs
CALIBRATED, WIDE = 5.65, 1.0  # inches: place of the calibration, width of a grid


def draw() -> Figure:
    canvas = Canvas("A dynamic scale fits each run; a static one may clip or be coarse", 5.6)
    low, high = min(CALIBRATION), max(CALIBRATION)
    for x, values in zip(DYNAMIC, RUNS.values(), strict=True):
        _grid(canvas, x - WIDE / 2, x + WIDE / 2, min(values), max(values))
        _dots(canvas, x, values, max(values))
    _grid(canvas, CALIBRATED - WIDE / 2, CALIBRATED + WIDE / 2, low, high)
    _dots(canvas, CALIBRATED, CALIBRATION, high)
    canvas.text(CALIBRATED, 0.98, "calibration")
    for x, values in zip(STATIC, RUNS.values(), strict=True):
        _grid(canvas, x - WIDE / 2, x + WIDE / 2, low, high)
        _dots(canvas, x, values, high)
    for end in (low, high):
        canvas.line([(CALIBRATED, _y(end)), (STATIC[-1] + 0.7, _y(end))], color=INK, style="--")
    for places in (DYNAMIC, STATIC):
        for x, name in zip(places, RUNS, strict=True):
            canvas.text(x, 0.98, name)
    canvas.text(STATIC[1] + 0.15, _y(2.05), "clipped", align="left")
    canvas.text(STATIC[2], _y(0.85), "coarse", clear=True)
    for x, name, told in (
        (DYNAMIC[1], "dynamic: measured in each run", "always fits, and costs time"),
        (7.9, "static: fixed by calibration", "costs no time, and may not fit"),
    ):
        canvas.text(x, 0.6, name, bold=True)
        canvas.text(x, 0.28, told, color=MUTED)
    return canvas.fig


def _grid(canvas: Canvas, left: float, right: float, low: float, high: float) -> None:
    canvas.bar(left, _y(low), right - left, _y(high) - _y(low), paint=GROUND)
    for level in np.linspace(low, high, STEPS + 1)[1:-1]:
        canvas.axis.plot(
            (left, right), (_y(level), _y(level)), color=KEPT.edge, linewidth=1, zorder=3
        )


def _dots(canvas: Canvas, x: float, values: Sequence[float], high: float) -> None:
    """The values of a run; one above the grid is clipped to its upper end."""
    for value in values:
        canvas.dot(x, _y(value), WORK if value <= high else REFUSED, size=9)
        if value > high:
            canvas.arrow((x, _y(value) - 0.05), (x, _y(high) + 0.02))


def _y(value: float) -> float:
    """Inches from below."""
    return ZERO + UNIT * value
