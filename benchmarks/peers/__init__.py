"""The recipe of the series beside what a user would take instead: ``make peers``."""
