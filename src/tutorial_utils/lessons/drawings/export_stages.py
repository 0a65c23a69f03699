"""The stages of an export: one line of Python, followed until it stands in a file."""

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    DATA,
    MUTED,
    PLAIN,
    REFUSED,
    WORK,
    Box,
    Canvas,
    Paint,
)

ALT = (
    "Five stages from top to bottom: a PyTorch module, the ExportedProgram that torch.export "
    "records, ONNX operators, the same graph after the optimizer, and the file. One line of "
    "Python, a GELU of a linear layer, becomes eight operators; the optimizer removes one."
)
STAGES = {  # name → what it is, and the step that leads on from it
    "PyTorch module": ("Python code", "torch.export records"),
    "ExportedProgram": ("recorded calls", "translate"),
    "ONNX graph": ("operators", "optimize"),
    "Optimized graph": ("fewer operators", "save"),
    "ONNX file": ("graph and weights", ""),
}
OPERATORS = ("Transpose", "MatMul", "Add", "Div", "Erf", "Add", "Mul", "Mul")
HEIGHT, GAP, FIRST = 0.7, 0.34, 4.85  # inches: of a stage, between stages, middle of the first
GLIMPSE = 3.45  # inches: where the glimpses begin


def draw() -> Figure:
    canvas = Canvas("An export turns a line of Python into a graph of ONNX operators", 5.75)
    rows = [FIRST - i * (HEIGHT + GAP) for i in range(len(STAGES))]
    boxes = [canvas.box(1.7, y, 2.8, HEIGHT, paint=DATA) for y in rows]
    for box, (name, (what, _)) in zip(boxes, STAGES.items(), strict=True):
        canvas.text(box.x, box.y + 0.15, name, bold=True)
        canvas.text(box.x, box.y - 0.15, what, color=MUTED)
    for (above, below), (_, step) in zip(pairwise(boxes), STAGES.values(), strict=False):
        canvas.arrow((0.9, above.bottom[1]), (0.9, below.top[1]))
        canvas.text(1.1, above.bottom[1] - GAP / 2, step, align="left")
    module, recorded, graph, optimized, file = rows
    _code(canvas, module, "def forward(self, x):", "    return gelu(self.dense(x))")
    _code(canvas, recorded, "linear = aten.linear(x, weight, bias)", "gelu = aten.gelu(linear)")
    _chain(canvas, graph, OPERATORS)
    _chain(canvas, optimized, OPERATORS, removed="Transpose")
    x = GLIMPSE
    for part, width in (("graph", 1.1), ("weights", 1.3), ("inputs, outputs", 1.9), ("opset", 1.1)):
        canvas.sheet(x + width / 2, file, width, 0.5, part)
        x += width + 0.2
    return canvas.fig


def _code(canvas: Canvas, y: float, *lines: str) -> None:
    for i, line in enumerate(lines):
        canvas.text(GLIMPSE, y + 0.14 - 0.28 * i, line, align="left", mono=True)


def _chain(canvas: Canvas, y: float, operators: Sequence[str], removed: str = "") -> None:
    """Operators in a row, joined by arrows; what was removed keeps its place, without an arrow."""
    boxes: list[Box] = []
    x = GLIMPSE
    for name in operators:
        width = 0.22 + 0.104 * len(name)
        boxes.append(canvas.box(x + width / 2, y, width, 0.46, name, _paint(name, removed)))
        x += width + 0.26
    for (before, after), name in zip(pairwise(boxes), operators, strict=False):
        if name != removed:
            canvas.arrow(before.right, after.left, wide=1.2)


def _paint(name: str, removed: str) -> Paint:
    return REFUSED if name == removed else WORK if name == "MatMul" else PLAIN
