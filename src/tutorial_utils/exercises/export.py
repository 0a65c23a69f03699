"""References of the exercises in 01_export."""
