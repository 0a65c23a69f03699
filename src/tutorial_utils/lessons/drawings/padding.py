"""What is computed for sixteen real sentences, padded in three ways; areas are work."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    HEADING,
    MUTED,
    WASTE,
    WORK,
    Canvas,
)
from tutorial_utils.runtime import batching

# Tokens of the first sentences of the test split.
LENGTHS = (24, 36, 15, 25, 20, 44, 18, 22, 50, 44, 45, 21, 11, 38, 11, 14)
SIZE = 4  # sentences in a batch
IN_ORDER = batching.in_order(len(LENGTHS), SIZE)
SORTED = [
    [sorted(range(len(LENGTHS)), key=LENGTHS.__getitem__)[i] for i in batch] for batch in IN_ORDER
]
FIXED = 128  # tokens to which popular recipes pad
ROW, GAP, TOKEN = 0.19, 0.12, 0.036  # inches: a sentence, between batches, a token


def shares() -> list[float]:
    """Percent of padding: to 128 tokens, to the longest of each batch, and sorted before."""
    fixed = 1 - sum(LENGTHS) / (FIXED * len(LENGTHS))
    ways = (batching.padding_waste(LENGTHS, batches) for batches in (IN_ORDER, SORTED))
    return [100 * share for share in (fixed, *ways)]


ALT = (
    "Sixteen sentences as bars, their padding hatched, in batches of four. Padded to 128 tokens, "
    "{:.0f} % of the area is padding; padded to the longest of each batch, {:.0f} %; sorted by "
    "length before, {:.0f} %."
).format(*shares())


def draw() -> Figure:
    canvas = Canvas("Sort by length, and little padding is left", 5.5)
    ways = (
        (0.3, "padded to 128", IN_ORDER, FIXED),
        (5.55, "to the longest of a batch", IN_ORDER, None),
        (8.6, "sorted by length", SORTED, None),
    )
    for (left, name, batches, width), share in zip(ways, shares(), strict=True):
        canvas.text(left, 4.65, name, bold=True, align="left")
        _batches(canvas, left, batches, width)
        canvas.text(left, 0.65, f"{share:.0f} % padding", size=HEADING, bold=True, align="left")
    canvas.key(0.3, 0.25, WORK, "tokens of a sentence")
    canvas.key(3.0, 0.25, WASTE, "padding")
    canvas.text(5.55, 0.25, "the area is the work", color=MUTED, align="left")
    return canvas.fig


def _batches(
    canvas: Canvas, left: float, batches: Sequence[Sequence[int]], width: int | None
) -> None:
    y = 4.4
    for batch in batches:
        widest = width or max(LENGTHS[i] for i in batch)
        for i in batch:
            y -= ROW
            end = left + LENGTHS[i] * TOKEN
            canvas.bar(left, y, LENGTHS[i] * TOKEN, ROW, paint=WORK)
            if LENGTHS[i] < widest:
                canvas.bar(end, y, (widest - LENGTHS[i]) * TOKEN, ROW, paint=WASTE)
        y -= GAP
