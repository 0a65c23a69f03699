"""References of the exercises in 03_quantization."""
