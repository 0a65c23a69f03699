"""Make a user's classifier fast: export, fuse, quantize, tune, evaluate, gate, promote.

``run`` executes the ``stages``: ``variants`` builds files, ``answers`` compares their answers, and
``timing`` compares their times. Then ``gate`` decides, ``promotion`` publishes, ``report`` writes.
"""

from tutorial_utils.optimize.job import QUICK, Effort
from tutorial_utils.optimize.run import Outcome, optimize

__all__ = ["QUICK", "Effort", "Outcome", "optimize"]
