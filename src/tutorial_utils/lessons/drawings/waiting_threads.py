"""Two threads that share each operator wait for each other; with a batch each, they do not."""

from itertools import accumulate

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    INK,
    MARGIN,
    OTHER,
    WASTE,
    WORK,
    Canvas,
    Paint,
)

ALT = (
    "Two threads over time. Above, both work on one batch: each operator is cut in two unequal "
    "parts, and the thread that is done first waits. Below, each thread has a batch of its own "
    "and never waits; both batches are done earlier."
)
# What two threads need for their parts of each operator of one batch, in no unit of time.
OPERATORS = ((3.0, 2.2), (1.1, 1.7), (2.7, 1.8), (1.5, 0.9))
BATCHES = {"A": WORK, "B": OTHER}
TOGETHER = [max(parts) for parts in OPERATORS]  # an operator ends when both parts do
SHARED, SINGLE = len(BATCHES) * sum(TOGETHER), sum(map(sum, OPERATORS))
LEFT, RIGHT, HIGH = 1.75, 10.45, 0.46  # inches
UNIT = (RIGHT - LEFT) / SHARED


def draw() -> Figure:
    canvas = Canvas("Threads that share a batch wait at the end of every operator", 5.3)
    canvas.text(MARGIN, 4.4, "Two threads share each batch", bold=True, align="left")
    _lanes(canvas, 3.75)
    for batch, (name, paint) in enumerate(BATCHES.items()):
        ends = accumulate(TOGETHER, initial=batch * sum(TOGETHER))
        for parts, whole, start in zip(OPERATORS, TOGETHER, ends, strict=False):
            for thread, part in enumerate(parts):
                _bar(canvas, 3.75 - 0.6 * thread, start, part, paint, name)
                _bar(canvas, 3.75 - 0.6 * thread, start + part, whole - part, WASTE)
    canvas.text(MARGIN, 2.3, "One thread for each batch", bold=True, align="left")
    _lanes(canvas, 1.65)
    for thread, (name, paint) in enumerate(BATCHES.items()):
        starts = accumulate(map(sum, OPERATORS), initial=0.0)
        for parts, start in zip(OPERATORS, starts, strict=False):
            _bar(canvas, 1.65 - 0.6 * thread, start, sum(parts), paint, name)
    end = LEFT + SINGLE * UNIT
    canvas.line([(RIGHT, 0.75), (RIGHT, 4.3)], color=INK, style=":")
    canvas.line([(end, 0.75), (end, 2.2)], color=INK, style=":")
    canvas.arrow((RIGHT, 1.35), (end, 1.35))
    canvas.text((RIGHT + end) / 2, 1.58, "sooner", bold=True)
    canvas.key(LEFT, 0.35, WORK, "batch A")
    canvas.key(LEFT + 1.75, 0.35, OTHER, "batch B")
    canvas.key(LEFT + 3.5, 0.35, WASTE, "waiting for the other thread")
    return canvas.fig


def _lanes(canvas: Canvas, y: float) -> None:
    for thread in range(2):
        canvas.text(MARGIN, y - 0.6 * thread, f"thread {thread + 1}", align="left")


def _bar(
    canvas: Canvas, y: float, start: float, length: float, paint: Paint, text: str = ""
) -> None:
    if length > 0:
        canvas.bar(LEFT + start * UNIT, y - HIGH / 2, length * UNIT, HIGH, text, paint)
