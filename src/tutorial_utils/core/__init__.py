"""What every package may use: errors, paths, hashing, tables, records, the machine, provenance."""
