"""Fair timing: the timer, intervals and verdicts, what can be timed, the roofline, load."""

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.bench.timer import Candidate, Comparison, compare

__all__ = ["Candidate", "Comparison", "Ratio", "compare"]
