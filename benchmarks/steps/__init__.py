"""All steps of the series compared, and one candidate compared with itself: ``make bench``."""
