"""References of the exercises in 03_quantization."""

from tutorial_utils.exercises.core import exercise
