"""What a processor or a GPU allows: its roofs, its number formats, and the operators it has."""

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise

import numpy as np
from matplotlib.figure import Figure

from tutorial_utils import plots
from tutorial_utils.bench.roofline import Roofs, Work
from tutorial_utils.plots import BLUE, GREEN, GREY, ORANGE, PALETTE, PINK, styled

LARGEST_FP16 = float(np.finfo(np.float16).max)


@styled
def placement(rows: Mapping[str, Sequence[tuple[str, bool]]], title: str) -> Figure:
    """Chains of operators, each on the GPU (True) or the CPU, with an arrow for each copy.

    A chain begins and ends in the memory of the CPU.
    """
    fig, axes = plots.figure(title, rows=len(rows), size=(11, 2.1 * len(rows)))
    for axis, (name, chain) in zip(axes, rows.items(), strict=True):
        places = [("inputs", False), *chain, ("answer", False)]
        for x, (op, on_gpu) in enumerate(places):
            axis.text(
                x, on_gpu, op, ha="center", va="center", fontsize=11,
                bbox={"boxstyle": "round,pad=0.4", "facecolor": GREEN if on_gpu else "white",
                      "edgecolor": GREY},
            )  # fmt: skip
        sides = [on_gpu for _, on_gpu in places]
        for x, (before, after) in enumerate(pairwise(sides)):
            if before == after:
                axis.plot((x, x + 1), (before, after), color=GREY, zorder=1)
            else:
                arrow = {"arrowstyle": "->", "color": ORANGE, "lw": 3, "shrinkA": 20, "shrinkB": 20}
                axis.annotate("", (x + 1, after), (x, before), arrowprops=arrow)
        copies = sum(a != b for a, b in pairwise(sides))
        axis.set_title(f"{name}: {copies} copies (thick arrows)", fontsize=12, loc="left")
        axis.set(xlim=(-0.6, len(places) - 0.4), ylim=(-0.5, 1.5))
        axis.set_yticks((0, 1), ("CPU", "GPU"))
        axis.set_xticks(())
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    return fig


@styled
def number_formats(sums: Mapping[str, float], title: str) -> Figure:
    """The distance between neighbouring numbers in fp16 and bf16, and where sums of squares lie.

    sums: the largest sum of squares by name; each is a vertical line.
    """
    fig, (axis,) = plots.figure(title, size=(9.5, 4.8))
    x = np.logspace(-3, 5.6, 400)
    inside = x[x < LARGEST_FP16]
    exponent = np.floor(np.log2(x))
    for name, xs, steps, colour, style in (
        ("fp16", inside, np.spacing(inside.astype(np.float16)).astype(float), BLUE, "-"),
        ("bf16", x, 2 ** (exponent - 7), ORANGE, "--"),
    ):
        axis.plot(xs, steps, style, color=colour, lw=2.5)
        plots.label(axis, name, (xs[-1], steps[-1]), (6, -4), color=colour, fontweight="bold")
    axis.axvline(LARGEST_FP16, color="black", linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="value", ylabel="distance to the next number")
    plots.label(axis, "fp16 ends:\n65,504", (LARGEST_FP16, 1e-4), (6, 0))
    for height, (name, value) in enumerate(sums.items()):
        axis.axvline(value, color=PINK, lw=1.5)
        plots.label(axis, name, (value, 1e-5), (-6, 20 * height), ha="right", color=PINK)
    return fig


@styled
def roofline(roofs: Roofs, points: Mapping[str, tuple[str, Work, float]], title: str) -> Figure:
    """Operations per second against operations a byte, below the roofs of the machine.

    points: name → (kind of product, work of one run, milliseconds of it).
    """
    fig, (axis,) = plots.figure(title, size=(9, 5.5))
    intensities = [work.operations / work.bytes for _, work, _ in points.values()]
    xs = np.geomspace(min(intensities) / 4, max(intensities) * 4, 200)
    colours = dict(zip(roofs.operations, PALETTE, strict=False))
    for kind, roof in roofs.operations.items():
        look = {"color": colours[kind]}
        axis.plot(xs, np.minimum(roof, roofs.bytes * xs / 1e3), linewidth=2, **look)
        plots.label(axis, f"{kind}: {roof:.2f}", (xs[-1], roof), (0, 5), ha="right", **look)
    for (name, (kind, work, milliseconds)), x, marker in zip(
        points.items(), intensities, cycle("osD^vP"), strict=False
    ):
        reached = work.operations / milliseconds / 1e9
        axis.plot(x, reached, marker=marker, color=colours[kind], markersize=9)
        plots.label(axis, f"{name}: {reached / roofs.operations[kind]:.0%}", (x, reached), (8, -12))
    axis.set(xscale="log", yscale="log", ylabel="10¹² operations per second")
    axis.set_xlabel("operations for each byte of weights read")
    plots.plain_log_ticks(axis.xaxis, (1, 2, 5))
    plots.plain_log_ticks(axis.yaxis, (1, 2, 5))
    axis.margins(x=0.02, y=0.15)
    return fig
