"""References of the exercises in 04_runtime_tuning."""

from tutorial_utils.exercises.core import exercise
