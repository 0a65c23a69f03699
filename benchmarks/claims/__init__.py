"""Sixteen popular claims measured: ``make claims``."""
