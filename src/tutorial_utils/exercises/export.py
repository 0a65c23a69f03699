"""References of the exercises in 01_export."""

from tutorial_utils.exercises.core import exercise
