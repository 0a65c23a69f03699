"""Solutions to the exercises of 00_start_here."""

import math


def percentile(times, q):
    """Nearest rank: the smallest value that at least q percent of all do not exceed."""
    rank = math.ceil(len(times) * q / 100)
    return sorted(times)[rank - 1]


def throughput(seconds, batch):
    """Items handled in all, by time spent in all."""
    return len(seconds) * batch / sum(seconds)
