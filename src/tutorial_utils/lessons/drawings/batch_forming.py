"""Requests arrive while a batch runs; those that fit the token budget make the next one."""

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from tutorial_utils.lessons.drawings.primitives import (
    INK,
    MARGIN,
    MUTED,
    OTHER,
    PLAIN,
    WASTE,
    WIDTH,
    WORK,
    Canvas,
)
from tutorial_utils.runtime import batching

BUDGET = 128  # tokens of a batch, padding included
ARRIVALS = ((0.0, 18), (0.3, 14), (0.6, 40), (0.9, 12), (1.3, 16), (2.0, 22), (2.6, 15))
FIXED, TOKEN = 1.2, 0.025  # time of a batch: this, and this for each token; no real unit
LEFT, UNIT = 1.9, 1.05  # inches: where time begins, and how long a unit of it is
TOP, ROW, HIGH = 4.4, 0.43, 0.32  # inches: of the first row, between rows, of a bar
ALT = (
    "Seven requests as rows over time, each hatched while it waits and solid while its batch "
    "runs. The first runs alone at once. What arrives meanwhile waits; short requests that fit a "
    "budget of 128 tokens make the second batch, the others the third."
)


@dataclass(frozen=True)
class Batch:
    """Which requests run together, from when to when."""

    requests: list[int]
    start: float
    end: float


def batches() -> Iterator[Batch]:
    """A worker that takes the batch with the most texts whenever it is free."""
    left, now = list(range(len(ARRIVALS))), 0.0
    while left:
        now = max(now, ARRIVALS[left[0]][0])
        queue = [i for i in left if ARRIVALS[i][0] <= now]
        lengths = [ARRIVALS[i][1] for i in queue]
        chosen = [queue[i] for i in batching.by_tokens(lengths, BUDGET)[0]]
        tokens = len(chosen) * max(ARRIVALS[i][1] for i in chosen)
        yield Batch(chosen, now, now + FIXED + TOKEN * tokens)
        now += FIXED + TOKEN * tokens
        left = [i for i in left if i not in chosen]


def draw() -> Figure:
    canvas = Canvas("While one batch runs, the next one forms in the queue", 5.4)
    for row, (_, tokens) in enumerate(ARRIVALS):
        canvas.text(MARGIN, TOP - row * ROW, f"{tokens} tokens", align="left")
    worker = TOP - (len(ARRIVALS) + 0.5) * ROW
    canvas.lane(worker - 0.28, 0.56, "worker")
    for number, batch in enumerate(batches(), 1):
        paint = OTHER if number % 2 == 0 else WORK
        start, end = _x(batch.start), _x(batch.end)
        for i in batch.requests:
            arrival, y = _x(ARRIVALS[i][0]), TOP - i * ROW
            if arrival < start:
                canvas.bar(arrival, y - HIGH / 2, start - arrival, HIGH, paint=WASTE)
            canvas.bar(start, y - HIGH / 2, end - start, HIGH, f"batch {number}", paint)
            canvas.dot(arrival, y, PLAIN)
        count, longest = len(batch.requests), max(ARRIVALS[i][1] for i in batch.requests)
        told = f"{count} × {longest} = " if count > 1 else ""
        told += f"{count * longest} tokens"
        canvas.bar(start, worker - HIGH / 2, end - start, HIGH, told, paint)
        canvas.line([(start, worker + HIGH / 2), (start, TOP + 0.3)], style=":", color=INK)
    canvas.dot(MARGIN + 0.17, 0.28, PLAIN)
    canvas.text(MARGIN + 0.45, 0.28, "arrives", align="left")
    canvas.key(LEFT, 0.28, WASTE, "waits in the queue")
    canvas.text(
        WIDTH - MARGIN, 0.28, f"at most {BUDGET} tokens a batch", color=MUTED, align="right"
    )
    return canvas.fig


def _x(time: float) -> float:
    return LEFT + UNIT * time
