"""All steps of the series side by side, and the same candidate twice: ``make bench``."""
