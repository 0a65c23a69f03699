"""Exercises of the notebooks: ``check`` an answer, ``use`` it, see a ``solution``."""

from importlib import import_module
from pkgutil import iter_modules

from tutorial_utils.lessons.exercises.core import (
    EXERCISES,
    Result,
    Status,
    check,
    solution,
    use,
)

__all__ = ["EXERCISES", "Result", "Status", "check", "solution", "use"]

for _module in iter_modules(__path__, f"{__name__}."):  # each registers its lesson's exercises
    import_module(_module.name)
