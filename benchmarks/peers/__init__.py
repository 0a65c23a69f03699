"""The series' recipe compared with what users would choose instead: ``make peers``."""
