"""References of the exercises in 05_serving."""

from tutorial_utils.exercises.core import exercise
