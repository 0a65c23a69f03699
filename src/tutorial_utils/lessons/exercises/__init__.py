"""Exercises of the notebooks: ``check`` an answer, ``predict`` before a measurement."""

from tutorial_utils.lessons.exercises import (
    continuous,
    export,
    fusion,
    operating,
    quantization,
    serving,
    start,
    tuning,
)
from tutorial_utils.lessons.exercises.core import EXERCISES, Result, Status, check, predict

__all__ = ["EXERCISES", "Result", "Status", "check", "predict"]
__all__ += [
    "continuous",
    "export",
    "fusion",
    "operating",
    "quantization",
    "serving",
    "start",
    "tuning",
]
