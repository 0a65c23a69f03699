"""What all charts share: palette, style, an empty figure, labels, and showing it in a notebook."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot, rcsetup, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

# Okabe and Ito's palette; every use of colour is doubled by a marker, a hatch or a label.
PALETTE = BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#8C8C8C"
# The same hues for text: dark enough to be read on white, a contrast of 4.5 or more.
INKS = {ORANGE: "#8A5F00", GREEN: "#00664B", PINK: "#A8447B", GREY: "#4D4D4D"}
STYLE: dict[Any, Any] = {
    "figure.figsize": (9, 4.5),
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,  # inches: labels keep off the edge
    "figure.dpi": 100,
    "font.size": 12,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": rcsetup.cycler(color=PALETTE),
}

# For all functions that draw: text takes the size that holds when it is written, not that of its
# axes. https://matplotlib.org/stable/users/explain/customizing.html#temporary-rc-settings
styled = matplotlib.rc_context(STYLE)


@styled
def figure(title: str, *, rows: int = 1, columns: int = 1, size=None) -> tuple[Figure, np.ndarray]:
    """A figure in the course's style and its axes (a flat array); the title says the finding.

    A title that is wider than the figure is broken into lines.
    """
    fig, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    pyplot.close(fig)  # the notebook shows it once, through ``show``
    fig.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold", wrap=True)
    return fig, axes.ravel()


def show(fig: Figure, alt: str) -> None:
    """Display ``fig`` in the notebook as a PNG with alt text, which is also its plain-text form."""
    from IPython.display import display

    picture = io.BytesIO()
    fig.savefig(picture, format="png", dpi=90)
    display(
        {"image/png": picture.getvalue(), "text/plain": f"[Figure: {alt}]"},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )


@styled
def label(axis: Axes, text: str, at: tuple, offset: tuple[float, float], **style) -> None:
    """Write ``text`` at the point ``at`` of the data, moved by ``offset`` typographic points.

    The y of ``at`` is a number, or a name on an axis of names. A colour of the palette is written
    in its ink.
    """
    color = style.pop("color", "black")
    style["color"] = INKS.get(color, color)
    axis.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def plain_log_ticks(scale: Axis, digits: Sequence[int]) -> None:
    """0.5 and 200 in place of 5 × 10⁻¹ and 2 × 10², at the multiples that ``digits`` name."""
    scale.set_major_locator(ticker.LogLocator(subs=digits))
    scale.set_major_formatter("{x:g}")
    scale.set_minor_formatter(ticker.NullFormatter())
