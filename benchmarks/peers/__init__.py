"""Compare the course's recipe with what users would choose instead: ``make peers``."""
