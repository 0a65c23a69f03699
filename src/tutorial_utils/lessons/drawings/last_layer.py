"""The last layer, which only has to be computed where the answer is read."""

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    CELL,
    KEPT,
    WASTE,
    Canvas,
    Paint,
)

ALT = (
    "Two grids of six layers by seven tokens. On the left every cell is computed. On the right "
    "the last layer computes keys and values at all tokens, and the rest at [CLS] only: the "
    "classifier reads nothing else."
)
TOKENS = ("[CLS]", "a", "joy", "to", "watch", ".", "[SEP]")
LAYERS = 6
WIDE, HIGH = 0.6, 0.42  # inches: of a cell
BOTTOM = 1.05  # inches: lower edge of the first layer


def draw() -> Figure:
    canvas = Canvas("Only [CLS] is read, so the last layer need not compute the rest", 5.4)
    _grid(canvas, 1.15, "as exported", WASTE, "computed, never read")
    _grid(canvas, 6.4, "last layer at [CLS] only", KEPT, "keys and values only")
    return canvas.fig


def _grid(canvas: Canvas, left: float, name: str, rest: Paint, told: str) -> None:
    """rest: how the last layer's cells look that the classifier does not read; told: of them."""
    for column, token in enumerate(TOKENS):
        canvas.text(left + (column + 0.5) * WIDE, BOTTOM - 0.22, token)
        for layer in range(LAYERS):
            unread = layer == LAYERS - 1 and column > 0
            low = BOTTOM + layer * HIGH
            canvas.bar(left + column * WIDE, low, WIDE, HIGH, paint=rest if unread else CELL)
    for layer in range(LAYERS):
        canvas.text(left - 0.15, BOTTOM + (layer + 0.5) * HIGH, f"layer {layer + 1}", align="right")
    top = BOTTOM + LAYERS * HIGH
    head = canvas.box(left + WIDE / 2, top + 0.75, 1.25, 0.42, "classifier")
    canvas.arrow((left + WIDE / 2, top), head.bottom)
    right = left + len(TOKENS) * WIDE
    canvas.bracket(left + WIDE, right, top + 0.14, told)
    canvas.text((left + right) / 2, BOTTOM - 0.7, name, bold=True)
