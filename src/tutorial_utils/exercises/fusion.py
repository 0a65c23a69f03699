"""References of the exercises in 02_fusion."""
