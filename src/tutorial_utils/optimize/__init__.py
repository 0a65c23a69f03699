"""Make a classifier of the user's fast: export, fuse, quantize, tune, evaluate, gate, promote.

``run`` goes through the ``stages``: ``variants`` builds files, ``answers`` compares their answers,
``timing`` their times. Then ``gate`` decides, ``promotion`` publishes and ``report`` writes.
"""

from tutorial_utils.optimize.job import QUICK, Effort
from tutorial_utils.optimize.run import Outcome, optimize

__all__ = ["QUICK", "Effort", "Outcome", "optimize"]
