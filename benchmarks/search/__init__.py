"""Which fusions, quantizations and settings pay on a machine, and its roofline: ``make search``."""
