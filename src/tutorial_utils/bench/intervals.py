"""A ratio of times with its interval over rounds, and the verdict that it allows.

How wide the interval is, how often it holds the true ratio, and what that means for the gate:
``docs/measuring.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tutorial_utils.core.errors import InvalidArgument

Array = npt.NDArray[np.float64]
RESOLUTION = 0.03  # two processes of one and the same candidate differ by about this much
# Student's t quantile of a 97 % interval. Rounds are correlated a little (0.14 from one to the
# next in the stored runs), so that the quantile for 95 % would cover only 91 to 93 %.
QUANTILE = 0.985


@dataclass(frozen=True)
class Ratio:
    """A time relative to another's, with its 95 % interval: below 1 is faster."""

    ratio: float
    low: float
    high: float

    @classmethod
    def of_rounds(cls, times: Sequence[float], reference: Sequence[float]) -> Self:
        """From the times of two candidates that took turns, one value a round each.

        Raises:
            InvalidArgument: not the same number of rounds, or fewer than two.
        """
        if len(times) != len(reference) or len(times) < 2:
            raise InvalidArgument(
                f"An interval needs at least two rounds, and equally many for each candidate; "
                f"you gave {len(times)} and {len(reference)}."
            )
        logs = np.log(np.divide(times, reference))
        return cls(*(float(np.exp(end)) for end in student(logs)))

    @property
    def word(self) -> str:
        """*faster* or *slower* when the whole interval lies outside 1 ± ``RESOLUTION``."""
        if self.high < 1 - RESOLUTION:
            return "faster"
        if self.low > 1 + RESOLUTION:
            return "slower"
        return "no measurable difference"

    @property
    def cell(self) -> str:
        """For a table: ratio and interval without words."""
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def inverse(self) -> Self:
        """The other way round: how many times faster."""
        return type(self)(1 / self.ratio, 1 / self.high, 1 / self.low)

    def __str__(self) -> str:
        return f"{self.ratio:.2f} × the time [{self.low:.2f}, {self.high:.2f}]"


def student(values: Array, quantile: float = QUANTILE) -> tuple[Array, Array, Array]:
    """Mean over the last axis (the rounds), and both ends of its interval by Student's t."""
    from scipy.special import stdtrit

    rounds = values.shape[-1]
    mean = values.mean(axis=-1)
    half = stdtrit(rounds - 1, quantile) * values.std(axis=-1, ddof=1) / np.sqrt(rounds)
    return mean, mean - half, mean + half
