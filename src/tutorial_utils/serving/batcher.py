"""Who waits, and who goes next: texts of many requests in batches bounded in tokens.

No timer: a free worker takes what is there, so a lone request goes at once, and batches form by
themselves while the worker is busy. Of the batches that could be made, the one with the most texts
goes first: it answers the most callers for its time. That would starve long texts, so one that has
waited ``max_age`` goes before.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable

from tutorial_utils import batching
from tutorial_utils.serving.request import (
    DeadlineExceeded,
    Item,
    Overloaded,
    Request,
    Unavailable,
)

RUN_COST = 32  # tokens; about what a run of a small encoder costs beside its tokens
SMOOTHING = 0.2  # share of the newest run in the running mean of a token's time


class Batcher:
    """A queue bounded in texts. Each text holds its place until it is released.

    held: admitted and not released: being tokenized, queued or in the model.
    Safe to share between threads. ``clock``: seconds, as in ``Request``.
    """

    def __init__(
        self,
        limit: int,
        budget: int,
        max_age: float,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.limit, self.budget, self.max_age = limit, budget, max_age
        self._clock = clock
        self._changed = threading.Condition()
        self._held: set[Item] = set()
        self._queue: dict[Item, None] = {}  # in the order of arrival
        self._token_seconds = 0.0  # running mean, known after the first run
        self.closed = False

    @property
    def waiting(self) -> int:
        """Texts that hold a place."""
        return len(self._held)

    @property
    def queued(self) -> tuple[int, int]:
        """Texts and tokens that no worker has taken yet."""
        with self._changed:
            return len(self._queue), sum(len(item.row) for item in self._queue)

    def admit(self, request: Request) -> None:
        """Give each text of the request a place, or none of them.

        Raises:
            Overloaded: there is no room for all of them.
            Unavailable: closed.
        """
        with self._changed:
            if self.closed:
                raise Unavailable
            if len(self._held) + len(request.items) > self.limit:
                tokens = sum(len(item.row) for item in self._queue)
                raise Overloaded(max(1, math.ceil(tokens * self._token_seconds)))
            self._held.update(request.items)

    def put(self, request: Request) -> None:
        """Queue an admitted request whose texts are tokenized, unless it is done meanwhile."""
        with self._changed:
            if request.future.done() or self.closed:
                self._held.difference_update(request.items)
            else:
                self._queue.update(dict.fromkeys(request.items))
                self._changed.notify()
        if self.closed:
            request.fail(Unavailable())

    def take(self) -> list[Item] | None:
        """Wait for texts and take the next batch, sorted by length; None when closed."""
        while True:
            with self._changed:
                while not self._queue and not self.closed:
                    self._changed.wait()
                if self.closed:
                    return None
                late = [i for i in self._queue if i.request.expires <= self._clock()]
                self._forget(late)
                batch = self._choose() if self._queue else []
                for item in batch:
                    del self._queue[item]
            for item in late:  # outside the lock: failing a future runs its callbacks
                item.request.fail(DeadlineExceeded())
            if batch:
                return batch

    def drop(self, request: Request) -> None:
        """Forget the texts of a request that no worker has taken; the others keep their places."""
        with self._changed:
            self._forget([item for item in request.items if item in self._queue])

    def release(self, items: Iterable[Item]) -> None:
        """Give places back; doing so twice is harmless."""
        with self._changed:
            self._forget(items)

    def took(self, tokens: int, seconds: float) -> None:
        """Learn from a run of the model over ``tokens``, padding included."""
        newest = seconds / max(1, tokens)
        known = self._token_seconds or newest
        self._token_seconds = (1 - SMOOTHING) * known + SMOOTHING * newest

    def close(self) -> None:
        """Wake the workers for the last time, and fail what no worker has taken."""
        with self._changed:
            self.closed = True
            left = list(self._queue)
            self._forget(left)
            self._changed.notify_all()
        for item in left:
            item.request.fail(Unavailable())

    def _forget(self, items: Iterable[Item]) -> None:
        for item in items:
            self._held.discard(item)
            self._queue.pop(item, None)

    def _choose(self) -> list[Item]:
        items = list(self._queue)
        batches = batching.by_tokens([len(i.row) for i in items], self.budget, RUN_COST)
        # Another batch goes before only if that still leaves the oldest within its time.
        due = items[0].request.submitted + self.max_age
        next_free = self._clock() + self.budget * self._token_seconds
        # Sorted by length, the first batch is the one with the most texts.
        chosen = batches[0] if next_free < due else next(b for b in batches if 0 in b)
        return [items[i] for i in chosen]
