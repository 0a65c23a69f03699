"""A service in operation: a circuit breaker over time, and how far its traffic has drifted."""

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.figure import Figure

from tutorial_utils import plots
from tutorial_utils.plots import BLUE, PALETTE, styled


@styled
def breaker(
    states: Sequence[tuple[float, str]],
    answers: Mapping[str, Sequence[float]],
    *,
    title: str,
    order: Sequence[str],
    events: Mapping[str, float],
) -> Figure:
    """A breaker's state over time, and below it who answered when.

    states: (seconds, state) of each change, and one at the end. order: states from the bottom up.
    answers: who → seconds of each answer.
    """
    fig, (upper, lower) = plots.figure(title, rows=2, size=(9, 5))
    seconds = [moment for moment, _ in states]
    upper.step(seconds, [order.index(state) for _, state in states], where="post", color=BLUE)
    upper.set_yticks(range(len(order)), order)
    upper.set_ylim(-0.3, len(order) - 0.7)
    for i, (moments, marker) in enumerate(zip(answers.values(), "oxsD^", strict=False)):
        lower.plot(moments, [i] * len(moments), marker=marker, linestyle="none")
    lower.set_yticks(range(len(answers)), list(answers))
    lower.set_ylim(-0.5, len(answers) - 0.5)
    lower.set_xlabel("seconds")
    for axis in (upper, lower):
        axis.set_xlim(min(0.0, *seconds), max(seconds))
    plots.mark_events(upper, events)
    return fig


@styled
def drift(
    ratios: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    begins: Mapping[str, float],
) -> Figure:
    """How far the traffic is from its profile, as a share of each feature's limit.

    ratios: feature → (texts so far, distance ÷ limit); a dot marks where it first exceeds 1.
    begins: source of texts → where it begins.
    """
    fig, (axis,) = plots.figure(title)
    ends = []
    for (name, (xs, ys)), colour, style in zip(
        ratios.items(), PALETTE, cycle(["-", "--", "-.", ":"]), strict=False
    ):
        first = [i for i, y in enumerate(ys) if y > 1][:1]
        look = {"color": colour, "linestyle": style, "linewidth": 2, "markersize": 9}
        axis.plot(xs, ys, marker="o", markevery=first, **look)
        ends.append((ys[-1], name, colour, xs[-1]))
    axis.set_ylim(bottom=0)
    gap = axis.get_ylim()[1] * 0.07
    level = -gap
    for y, name, colour, x in sorted(ends):  # names do not overlap where lines end close together
        level = max(y, level + gap)
        plots.label(axis, name, (x, level), (8, 0), color=colour, va="center")
    axis.axhline(1, color="black", linewidth=1)
    plots.label(axis, "limit", (0, 1), (4, 4), fontsize=11)  # the monitor's window is not full here
    axis.set_xlim(0, max(x for *_, x in ends))
    plots.mark_events(axis, begins)
    axis.set(xlabel="texts", ylabel="distance from the profile ÷ its limit")
    return fig
