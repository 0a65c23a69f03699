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
        return f"{digits(self.ratio)} {self.interval}"

    @property
    def interval(self) -> str:
        """For a table: both ends of the interval."""
        return f"[{digits(self.low)}, {digits(self.high)}]"

    def inverse(self) -> Self:
        """The other way round: how many times faster."""
        return type(self)(1 / self.ratio, 1 / self.high, 1 / self.low)

    def __str__(self) -> str:
        return f"{digits(self.ratio)} × the time {self.interval}"


def digits(ratio: float) -> str:
    """A ratio with two decimals, or two significant digits below 0.1: never 0.00 unless it is 0."""
    exponent = f"{ratio:.1e}"
    if not 0 < float(exponent) < 0.1:
        return f"{ratio:.2f}"
    place = int(exponent.partition("e")[2])
    return f"{ratio:.{1 - place}f}" if place >= -5 else exponent


def student(values: Array, quantile: float = QUANTILE) -> tuple[Array, Array, Array]:
    """Mean over the last axis (the rounds), and both ends of its interval by Student's t."""
    from scipy.special import stdtrit

    rounds = values.shape[-1]
    mean = values.mean(axis=-1)
    half = stdtrit(rounds - 1, quantile) * values.std(axis=-1, ddof=1) / np.sqrt(rounds)
    return mean, mean - half, mean + half
