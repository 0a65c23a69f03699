"""References of the exercises in 05_serving."""
