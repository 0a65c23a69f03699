"""Drawn concepts: one picture for each idea that is easier to see than to read.

Each picture has a file of its own with ``draw``, which returns a figure, and ``ALT``, which says
in words what is seen and what it means. They share the shapes of ``primitives``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from tutorial_utils import plots
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons.drawings import (
    batch_forming,
    dynamic_and_static_scales,
    export_stages,
    fusion_traffic,
    last_layer,
    number_line,
    padding,
    request_path,
    rollout,
    roofline,
    series_map,
    waiting_threads,
)


class UnknownDrawing(InvalidArgument):
    """There is no picture of that name."""

    def __init__(self, name: str):
        known = ", ".join(sorted(DRAWINGS))
        super().__init__(f"There is no drawing {name!r}. There are: {known}.")


@dataclass(frozen=True)
class Drawing:
    """A picture: the function that draws it, and its alt text."""

    draw: Callable[[], Figure]
    alt: str


_FILES = (  # in the order of the lessons
    series_map, export_stages, fusion_traffic, last_layer, number_line, dynamic_and_static_scales,
    waiting_threads, padding, request_path, batch_forming, rollout, roofline,
)  # fmt: skip
DRAWINGS = {file.__name__.rpartition(".")[2]: Drawing(file.draw, file.ALT) for file in _FILES}


def show(name: str) -> None:
    """Display a picture in the notebook, with its alt text.

    Raises:
        UnknownDrawing: there is none of that name; the message lists those there are.
    """
    if name not in DRAWINGS:
        raise UnknownDrawing(name)
    plots.show(DRAWINGS[name].draw(), DRAWINGS[name].alt)
