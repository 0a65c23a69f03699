"""Drift monitor: compares the last texts with the reference profile of a version.

    monitor = Monitor(profile)
    monitor.add_rows(rows, probabilities)
    monitor.disagreed([False, True, …])  # if another version answered the same texts
    monitor.state()["length"].drifting

It keeps only counts of bins, so no text can be read from a monitor.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tutorial_utils.drift.profile import Profile
from tutorial_utils.drift.statistics import DISAGREEMENT, Feature, values_of

__all__ = ["CALM", "Monitor", "Profile", "State"]

CALM = 0.8  # an alarm ends below this share of its limit, so it does not flicker at the limit


@dataclass(frozen=True)
class State:
    """The current state of one feature.

    distance: between the last window and the reference; NaN until the window is full. filled: share
    of the window that is full. alarms: how many have begun so far.
    """

    distance: float
    limit: float
    drifting: bool
    alarms: int
    filled: float

    def __repr__(self) -> str:
        word = "drifting" if self.drifting else "calm" if self.filled >= 1 else "filling"
        return f"{word}: {self.distance:.3f} of {self.limit:.3f}"


class Monitor:
    """Watches all features of a profile. Not safe to share between threads."""

    def __init__(self, profile: Profile):
        self.profile = profile
        self._windows = {n: _Window(f, profile) for n, f in profile.features.items()}

    def add(self, lengths: ArrayLike, unknown: ArrayLike, probabilities: ArrayLike) -> None:
        """Add answered texts; the arguments are those of ``Profile.of``.

        Raises:
            BadProfile: the arrays differ in length, or contain NaN or infinity.
        """
        values = values_of(lengths, unknown, probabilities, self.profile.task)
        for name, found in values.items():
            if name in self._windows:
                self._windows[name].add(found)

    def add_rows(self, rows: Sequence[Sequence[int]], probabilities: ArrayLike) -> None:
        """Add tokenized texts and the answers to them."""
        self.add(list(map(len, rows)), self.profile.unknown(rows), probabilities)

    def disagreed(self, differs: ArrayLike) -> None:
        """Add for each text whether another version's answer differs (``Task.same``)."""
        self._windows[DISAGREEMENT].add(np.asarray(differs, int))

    def state(self) -> dict[str, State]:
        """Feature → its current state."""
        return {name: window.state() for name, window in self._windows.items()}

    @property
    def drifting(self) -> tuple[str, ...]:
        """Features with an active alarm."""
        return tuple(name for name, window in self._windows.items() if window.drifting)


class _Window:
    """Counts of the last ``window`` texts, in blocks of ``every`` texts."""

    def __init__(self, feature: Feature, profile: Profile):
        self.feature, self.every = feature, profile.every
        self.most = profile.window // profile.every
        self.blocks: deque[np.ndarray] = deque(maxlen=self.most)
        self.pending = np.empty(0, int)
        self.distance, self.drifting, self.alarms = math.nan, False, 0

    def add(self, values: np.ndarray) -> None:
        self.pending = np.append(self.pending, self.feature.bins(values))
        whole = len(self.pending) // self.every * self.every
        for start in range(0, whole, self.every):
            self._check(self.pending[start : start + self.every])
        self.pending = self.pending[whole:]

    def state(self) -> State:
        filled = len(self.blocks) / self.most
        return State(self.distance, self.feature.limit, self.drifting, self.alarms, filled)

    def _check(self, bins: np.ndarray) -> None:
        self.blocks.append(np.bincount(bins, minlength=len(self.feature.shares)))
        if len(self.blocks) < self.most:
            return
        self.distance = float(self.feature.distance(np.sum(self.blocks, axis=0)))
        if self.drifting:
            self.drifting = self.distance >= CALM * self.feature.limit
        elif self.distance > self.feature.limit:
            self.drifting = True
            self.alarms += 1
