"""What a fusion saves: the results between operators, which are written and read again."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    DATA,
    HEADING,
    INK,
    KEPT,
    PLAIN,
    REFUSED,
    WORK,
    Canvas,
)

ALT = (
    "Two rows of operators below a band that stands for memory. Above, MatMul, Add and Gelu each "
    "read a tensor and write one. Below, BiasGelu stands for Add and Gelu: the tensor between "
    "them is neither written nor read."
)
TOKENS, HIDDEN, WIDE = 128, 768, 3072  # the feed-forward part of BERT-base, one sentence
FLOATS = [TOKENS * HIDDEN, TOKENS * WIDE, TOKENS * WIDE, TOKENS * WIDE]  # of x, a, b and y
MEGABYTES = [4 * floats / 1e6 for floats in FLOATS]  # fp32
SEPARATE = (("MatMul", 0, 1), ("Add", 1, 2), ("Gelu", 2, 3))  # reads and writes which tensor
FUSED = (("MatMul", 0, 1), ("BiasGelu", 1, 3))
PAINTS = {"MatMul": WORK, "BiasGelu": KEPT}
COLUMNS = (2.1, 4.2, 6.3, 8.4)  # inches: the places of the tensors


def traffic(chain: Sequence[tuple[str, int, int]]) -> float:
    """Megabytes that the operators read and write, weights aside."""
    return sum(MEGABYTES[i] for _, *moved in chain for i in moved)


def draw() -> Figure:
    canvas = Canvas("Fusion saves the trip to memory between two operators", 5.5)
    _row(canvas, 4.45, SEPARATE)
    _row(canvas, 2.05, FUSED)
    canvas.caption(f"Feed-forward part of BERT-base, {TOKENS} tokens, fp32; weights not counted")
    return canvas.fig


def _row(canvas: Canvas, memory: float, chain: Sequence[tuple[str, int, int]]) -> None:
    """One chain; each operator reads from memory above it, and writes to it."""
    operators = memory - 1.2
    canvas.lane(memory - 0.36, 0.72, "memory")
    canvas.text(0.45, operators, "operators", bold=True, align="left")
    used = {i for _, *moved in chain for i in moved}
    for i, x in enumerate(COLUMNS):
        text = f"{MEGABYTES[i]:.1f} MB" if i in used else "not needed"
        canvas.box(x, memory, 1.25, 0.44, text, DATA if i in used else REFUSED)
    for name, read, written in chain:
        start, end = COLUMNS[read], COLUMNS[written]
        box = canvas.box(
            (start + end) / 2, operators, end - start - 0.95, 0.52, name, PAINTS.get(name, PLAIN)
        )
        edge = box.width / 2 - 0.25
        for tensor, x, side, reads in ((read, start, -1, True), (written, end, 1, False)):
            above, below = (x - 0.2 * side, memory - 0.24), (box.x + edge * side, box.top[1])
            ends = (above, below) if reads else (below, above)
            canvas.arrow(*ends, wide=1 + 1.6 * MEGABYTES[tensor], color=INK)
    canvas.text(9.95, operators + 0.16, f"{2 * len(chain)} trips", size=HEADING, bold=True)
    canvas.text(9.95, operators - 0.16, f"{traffic(chain):.1f} MB")
