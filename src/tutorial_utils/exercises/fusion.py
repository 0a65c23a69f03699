"""References of the exercises in 02_fusion."""

from tutorial_utils.exercises.core import exercise
