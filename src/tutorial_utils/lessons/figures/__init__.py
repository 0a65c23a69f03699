"""Figures of the lessons, in the style of ``plots``. Each function returns a Matplotlib figure."""

from tutorial_utils.lessons.figures.hardware import number_formats, placement, roofline
from tutorial_utils.lessons.figures.layers import encoder_layers
from tutorial_utils.lessons.figures.operating import breaker, drift
from tutorial_utils.lessons.figures.steps import comparison, factors, ledger
