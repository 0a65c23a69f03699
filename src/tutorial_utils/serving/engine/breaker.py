"""A circuit breaker: a model that keeps failing is left alone for a while, then tried once.

After M. Nygard, *Release It!* (2nd ed., 2018), chapter 5. The worker looks at ``closed``; the
supervisor asks ``admit_probe``, which is true once after each cooldown. So a trial never uses a
caller's text.
"""

import threading
import time
from collections.abc import Callable

CLOSED, HALF_OPEN, OPEN = "closed", "half-open", "open"


class Breaker:
    """Opens after ``failures`` in a row, and admits one probe ``cooldown`` seconds later.

    Safe to share between threads. ``clock`` gives seconds and never goes back.
    """

    def __init__(
        self, failures: int = 3, cooldown: float = 5.0, clock: Callable[[], float] = time.monotonic
    ):
        self._limit, self._cooldown, self._clock = failures, cooldown, clock
        self._lock = threading.Lock()
        self._state = CLOSED
        self._failed = 0  # in a row
        self._opened = 0.0

    @property
    def state(self) -> str:
        return self._state

    @property
    def closed(self) -> bool:
        """May the model be used?"""
        return self._state == CLOSED

    def admit_probe(self) -> bool:
        """True for exactly one caller after the cooldown, until that caller reports the result."""
        with self._lock:
            rested = self._clock() - self._opened >= self._cooldown
            if self._state != OPEN or not rested:
                return False
            self._state = HALF_OPEN
            return True

    def success(self) -> None:
        """The model answered. This does not close an open breaker: only a probe does."""
        with self._lock:
            if self._state != OPEN:
                self._state, self._failed = CLOSED, 0

    def failure(self) -> None:
        """The model failed. A failed probe restarts the cooldown."""
        with self._lock:
            self._failed += 1
            if self._state == HALF_OPEN or self._failed >= self._limit:
                self._open()

    def trip(self) -> None:
        """Open at once: a model that hangs is not tried three times."""
        with self._lock:
            self._open()

    def _open(self) -> None:
        self._state, self._opened, self._failed = OPEN, self._clock(), 0
