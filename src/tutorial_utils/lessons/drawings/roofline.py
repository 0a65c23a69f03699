"""The roofline: what limits a run, and what moves it. After Williams et al., CACM 2009."""

import numpy as np
from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    INK,
    KEPT,
    WORK,
    Canvas,
)

ALT = (
    "Operations a second over operations for each byte read. A slope, the memory roof, limits one "
    "token; a flat roof of arithmetic limits 1 × 128 and 8 × 128. More tokens move a run to the "
    "right, better kernels up to its roof; int8 reads fewer bytes and has a higher roof."
)
BYTES = {"fp32": 4, "int8": 1}  # of a weight, which is read once a run
TOKENS = {"1 token": 1, "1 × 128": 128, "8 × 128": 1024}
MEMORY = 25.0  # 10^9 bytes a second; these three make the shape of the roofs, not a claim
PEAKS = {"fp32": 320.0, "int8": 2900.0}  # 10^9 operations a second
REACHED = 0.36  # of the roof, by the points
LEFT, RIGHT, LOW, HIGH = 0.6, 10.5, 0.75, 4.6  # inches
X_RANGE, Y_RANGE = (0.1, 6000.0), (1.5, 3500.0)


def intensity(tokens: int, kind: str) -> float:
    """Operations for each byte of weights: a multiplication and an addition for each token."""
    return 2 * tokens / BYTES[kind]


def roof(x: float, kind: str) -> float:
    return min(MEMORY * x, PEAKS[kind])


def draw() -> Figure:
    canvas = Canvas("Memory limits short inputs, and arithmetic limits large batches", 5.8)
    canvas.arrow((LEFT, LOW), (LEFT, HIGH + 0.35))
    canvas.arrow((LEFT, LOW), (RIGHT, LOW))
    canvas.text(RIGHT, LOW - 0.25, "operations for each byte read", align="right")
    canvas.text(LEFT + 0.15, HIGH + 0.2, "operations a second", align="left")
    for kind, style in (("int8", "--"), ("fp32", "-")):
        corners = (X_RANGE[0], PEAKS[kind] / MEMORY, X_RANGE[1])
        canvas.line([_place(x, roof(x, kind)) for x in corners], color=INK, wide=3, style=style)
        end = _place(X_RANGE[1], PEAKS[kind])
        canvas.text(end[0], end[1] + 0.2, f"{kind} roof", align="right", bold=True)
    slope = _place(1.5, roof(1.5, "fp32"))
    canvas.text(slope[0] - 0.15, slope[1] + 0.2, "memory roof", align="right", bold=True)
    for name, tokens in TOKENS.items():
        before, after = (_point(tokens, kind) for kind in ("fp32", "int8"))
        canvas.dot(*before, WORK, size=13)
        canvas.dot(*after, KEPT, "D", size=11)
        canvas.arrow(before, after, wide=1.5)
        canvas.text(before[0], before[1] - 0.3, name)
    x, y = _point(TOKENS["1 × 128"], "fp32")
    canvas.arrow((x, y), (x, _place(1, PEAKS["fp32"])[1]))
    canvas.text(x - 0.15, y + 0.25, "better kernels", align="right")
    canvas.arrow((2.8, 1.35), (7.6, 1.35))
    canvas.text(5.2, 1.57, "more tokens")
    for y, paint, marker, kind in (
        (HIGH - 0.25, WORK, "o", "fp32"),
        (HIGH - 0.6, KEPT, "D", "int8"),
    ):
        canvas.dot(LEFT + 0.3, y, paint, marker, size=11)
        canvas.text(LEFT + 0.5, y, kind, align="left")
    return canvas.fig


def _point(tokens: int, kind: str) -> tuple[float, float]:
    x = intensity(tokens, kind)
    return _place(x, REACHED * roof(x, kind))


def _place(x: float, y: float) -> tuple[float, float]:
    """Inches of a point, both axes logarithmic."""
    return (
        float(np.interp(np.log(x), np.log(X_RANGE), (LEFT, RIGHT))),
        float(np.interp(np.log(y), np.log(Y_RANGE), (LOW, HIGH))),
    )
