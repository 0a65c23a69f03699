"""Exercises of the notebooks: ``check`` an answer, ``predict`` before a measurement."""

from importlib import import_module
from pkgutil import iter_modules

from tutorial_utils.lessons.exercises.core import EXERCISES, Result, Status, check, predict

__all__ = ["EXERCISES", "Result", "Status", "check", "predict"]

for _module in iter_modules(__path__, f"{__name__}."):  # each registers its lesson's exercises
    import_module(_module.name)
