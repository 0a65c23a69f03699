"""A classifier of the user's made fast: export, fuse, quantize, tune, evaluate, gate, promote.

``run`` goes through the ``stages``; ``variants`` builds the files, ``answers`` compares what they
say, ``timing`` how long they take; ``gate`` decides, ``promotion`` publishes, ``report`` tells.
"""

from tutorial_utils.optimize.effort import QUICK, Effort
from tutorial_utils.optimize.run import STAGES, Outcome, optimize
from tutorial_utils.optimize.stages import Trial

__all__ = ["QUICK", "STAGES", "Effort", "Outcome", "Trial", "optimize"]
