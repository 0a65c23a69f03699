"""References of the exercises in 04_runtime_tuning."""
