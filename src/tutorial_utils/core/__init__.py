"""What every package may use: errors, paths, hashing, the machine, tables."""
