"""Floats on the grid of 256 integers, and what an outlier does to the grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    INK,
    KEPT,
    MARGIN,
    MUTED,
    PLAIN,
    WASTE,
    WORK,
    Canvas,
)

VALUES = (-1.2, -0.75, -0.31, 0.0, 0.17, 0.58, 0.63, 0.97, 1.31, 1.8)
OUTLIER = 28.8
ALT = (
    "Ten floats between −1.2 and 1.8 above a number line, and the integers they become below it. "
    "With 256 steps over that range, all stay apart. An outlier of 28.8 stretches the scale ten "
    "times: the same floats move visibly, and two of them become one integer."
)
UPPER, LOWER = 3.6, 1.0  # inches: heights of the two lines
LEFT, RIGHT = 1.55, 9.3  # inches: the places of the smallest and the largest of VALUES


@dataclass(frozen=True)
class Grid:
    """The 256 integers spread over a range of floats, as in uint8 quantization of activations."""

    scale: float
    zero_point: int

    @classmethod
    def over(cls, values: Sequence[float]) -> "Grid":
        scale = (max(values) - min(values)) / 255
        return cls(scale, round(-min(values) / scale))

    def integer(self, value: float) -> int:
        return int(np.clip(round(value / self.scale) + self.zero_point, 0, 255))

    def float(self, integer: int) -> float:
        return (integer - self.zero_point) * self.scale


def draw() -> Figure:
    plain, stretched = Grid.over(VALUES), Grid.over((*VALUES, OUTLIER))
    ratio = stretched.scale / plain.scale
    canvas = Canvas(f"One outlier makes all steps of the 8-bit grid {ratio:.0f} times wider", 5.7)
    _line(canvas, UPPER, plain, "Without an outlier")
    _line(canvas, LOWER, stretched, f"With an outlier of {OUTLIER}")
    canvas.line([(RIGHT, LOWER), (10.3, LOWER)], style=":", color=INK)
    canvas.arrow((10.25, LOWER), (10.7, LOWER))
    canvas.arrow((10.0, LOWER + 0.6), (10.0, LOWER + 0.03), wide=1.2)
    canvas.dot(10.0, LOWER + 0.65, WASTE, "s")
    canvas.dot(10.0, LOWER, KEPT, "D")
    canvas.text(10.0, LOWER + 0.93, f"{OUTLIER}")
    canvas.text(10.0, LOWER - 0.33, f"{stretched.integer(OUTLIER)}")
    twins = [v for v in VALUES if sum(_same(stretched, v, other) for other in VALUES) > 1]
    middle = _place(stretched.float(stretched.integer(twins[0])))
    canvas.text(middle, LOWER - 0.65, f"{len(twins)} floats, 1 integer", bold=True)
    return canvas.fig


def _line(canvas: Canvas, y: float, grid: Grid, name: str) -> None:
    """One number line: its grid, the floats above it, and the integers below it."""
    told = f"scale {grid.scale:.3g}, zero point {grid.zero_point}"
    canvas.text(MARGIN, y + 1.42, name, bold=True, align="left")
    canvas.text(RIGHT + 0.2, y + 1.42, told, align="right")
    canvas.text(MARGIN, y + 0.93, "floats", color=MUTED, align="left")
    canvas.text(MARGIN, y - 0.33, "integers", color=MUTED, align="left")
    for integer in range(256):
        x = _place(grid.float(integer))
        if LEFT - 0.1 <= x <= RIGHT + 0.1:
            canvas.line([(x, y - 0.09), (x, y + 0.09)], wide=1)
    canvas.line([(LEFT - 0.15, y), (RIGHT + 0.15, y)], color=INK)
    for value in VALUES:
        nearest = _place(grid.float(grid.integer(value)))
        canvas.arrow((_place(value), y + 0.6), (nearest, y + 0.03), wide=1.2)
        canvas.dot(_place(value), y + 0.65, WORK if value else PLAIN)
        canvas.dot(nearest, y, KEPT, "D")
    _labels(canvas, y + 0.93, [(_place(v), f"{v:g}".replace("-", "−")) for v in VALUES])
    integers = sorted({grid.integer(v) for v in VALUES})
    _labels(canvas, y - 0.33, [(_place(grid.float(i)), f"{i}") for i in integers])


def _same(grid: Grid, value: float, other: float) -> bool:
    return grid.integer(value) == grid.integer(other)


def _place(value: float) -> float:
    """Inches from the left."""
    return LEFT + (value - VALUES[0]) * (RIGHT - LEFT) / (VALUES[-1] - VALUES[0])


def _labels(canvas: Canvas, y: float, labels: Sequence[tuple[float, str]]) -> None:
    """Texts in one row; those too close to each other share a place."""
    groups: list[list[tuple[float, str]]] = []
    for x, text in labels:
        if groups and x - groups[-1][-1][0] < 0.2:
            groups[-1].append((x, text))
        else:
            groups.append([(x, text)])
    for group in groups:
        middle = sum(x for x, _ in group) / len(group)
        canvas.text(middle, y, ", ".join(text for _, text in group))
