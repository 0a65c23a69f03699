"""Guess before you measure: what was guessed is kept, and drawn beside what was measured."""

import math
from collections.abc import Mapping
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tutorial_utils import plots
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons import progress
from tutorial_utils.lessons.progress import Guess, Progress

CLOSE = 1.25  # a guess within this factor is well calibrated
FARTHEST = 16.0  # a guess that is further off is drawn at this factor, with its own beside it
ROWS = 20  # guesses in one column of the calibration, at most


def guess(name: str, value: float | None, unit: str) -> None:
    """Keep a learner's guess; None is none.

    name: of what will be measured, as ``00.padding``. unit: what the number counts, in words.

    Raises:
        InvalidArgument: the guess is not a finite number.
    """
    if value is not None:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise InvalidArgument(f"{name}: {value!r} is no number. Guess one, or leave None.")
        value = float(value)
    progress.change(lambda now: _with(now, name, Guess(value, unit)))
    told = (
        "no guess yet: put a number in place of None" if value is None else f"{value:,.6g} {unit}"
    )
    print(f"{name}: {told}")


def measured(name: str, value: float, digits: int = 1) -> None:
    """Draw what was measured beside the guess, on one line.

    digits: behind the decimal point of the measured value.

    Raises:
        InvalidArgument: there is no such guess: its cell was not run.
    """
    known = progress.read().guesses.get(name)
    if known is None:
        raise InvalidArgument(f"Run the cell with guess({name!r}, …) first.")
    made = replace(known, measured=float(value))
    progress.change(lambda now: _with(now, name, made))
    said = f"{value:,.{digits}f} {made.unit}"
    alt = f"On a line that begins at zero, what was measured: {said}. {_verdict(made)}"
    plots.show(_strip(made, said), alt=alt)


@plots.styled
def calibration(lessons: str = "") -> Figure:
    """All guesses so far against what was measured, as factors; many of them in two columns.

    lessons: how their names start; all by default.
    """
    kept = {n: g for n, g in progress.read().guesses.items() if n.startswith(lessons)}
    factors = {name: factor for name, one in kept.items() if (factor := _factor(one))}
    if not factors:
        fig, (axis,) = plots.figure("No guesses yet", size=(9, 1.2))
        axis.text(0, 0.5, "Put a number in place of None in the cells with guess(…).", va="center")
        axis.axis("off")
        return fig
    close = sum(map(_is_close, factors.values()))
    title = f"{close} of {len(factors)} guesses are within a factor of {CLOSE}"
    columns = 1 if len(factors) <= ROWS else 2
    rows = math.ceil(len(factors) / columns)
    fig, axes = plots.figure(title, columns=columns, size=(7 + 2 * columns, 1.3 + 0.32 * rows))
    below = "your guess, as a multiple of what was measured"
    answered = [n for n, g in kept.items() if None not in (g.value, g.measured)]
    if apart := [_spoken(name) for name in answered if name not in factors]:
        below += f"\nnot drawn, since nothing is a multiple of 0: {', '.join(apart)}"
    fig.supxlabel(below, fontsize=12)
    names = list(factors)
    for column, axis in enumerate(axes):
        part = names[column * rows : (column + 1) * rows]
        _column(axis, {name: factors[name] for name in part}, rows)
    return fig


def _column(axis: Axes, factors: Mapping[str, float], rows: int) -> None:
    """Factors by name, each as a stem that begins at 1 ×; close ones within a grey band."""
    axis.axvspan(1 / CLOSE, CLOSE, color=plots.GREY, alpha=0.25, linewidth=0)
    axis.axvline(1, color="black", linewidth=1)
    for row, factor in enumerate(factors.values()):
        end = min(max(factor, 1 / FARTHEST), FARTHEST)
        color, marker = (plots.BLUE, "o") if _is_close(factor) else (plots.ORANGE, "D")
        axis.plot([1, end], [row, row], color=color, linewidth=2)
        axis.plot([end], [row], marker, color=color, markersize=8, clip_on=False, zorder=3)
        if end != factor:
            told = f"{factor:,.0f} ×" if factor > 1 else f"1/{1 / factor:,.0f}"
            inwards, side = (-9, "right") if factor > 1 else (9, "left")
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            plots.label(
                axis, told, (end, row), (inwards, 0), ha=side, va="center", bbox=ground, fontsize=11
            )
    axis.set_yticks(range(len(factors)), [_spoken(n) for n in factors])
    axis.set_ylim(rows - 0.4, -0.6)
    axis.set_xscale("log", base=2)
    axis.set_xlim(1 / FARTHEST, FARTHEST)
    axis.set_xticks([1 / 16, 1 / 4, 1, 4, 16], ["1/16", "1/4", "1 ×", "4 ×", "16 ×"])


def _spoken(name: str) -> str:
    return name.replace(".", " ").replace("_", " ")


def _is_close(factor: float) -> bool:
    return 1 / CLOSE <= factor <= CLOSE


def _with(now: Progress, name: str, one: Guess) -> Progress:
    return replace(now, guesses={**now.guesses, name: one})


def _factor(one: Guess) -> float | None:
    """Guess over measurement; None if there is no guess, or one of them is not positive."""
    if one.value is None or one.measured is None or min(one.value, one.measured) <= 0:
        return None
    return one.value / one.measured


def _verdict(one: Guess) -> str:
    if one.value is None:
        return "No guess."
    told = f"Your guess: {one.value:,.6g}, "
    if factor := _factor(one):
        off = max(factor, 1 / factor)
        return told + ("well judged." if off <= CLOSE else f"off by a factor of {off:.1f}.")
    off = abs(one.value - (one.measured or 0))
    return told + ("well judged." if off == 0 else f"off by {off:,.3g}.")


@plots.styled
def _strip(one: Guess, said: str) -> Figure:
    """One line from zero on with both numbers."""
    fig, (axis,) = plots.figure(f"Measured: {said}. {_verdict(one)}", size=(9, 1.5))
    value = one.measured or 0.0
    points = {"measured": (value, plots.BLUE, "o", 10)}
    if one.value is not None:
        points["you"] = (one.value, plots.ORANGE, "D", 26)  # higher, so that names never overlap
    for name, (place, color, marker, height) in points.items():
        axis.plot([place], [0], marker, color=color, markersize=11, clip_on=False)
        plots.label(axis, name, (place, 0), (0, height), ha="center", fontweight="bold")
    ends = [0.0, *(point[0] for point in points.values())]
    low, high = min(ends), max(ends)
    high = high if low < high else low + 1.0  # all zero: the line still goes to the right
    room = 0.08 * (high - low)
    axis.set_xlim(low - room, high + room)
    axis.set_ylim(-0.5, 1.5)
    axis.yaxis.set_visible(False)
    axis.spines["left"].set_visible(False)
    return fig
