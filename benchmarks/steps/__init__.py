"""Compare all steps of the course, and one candidate with itself: ``make bench``."""
