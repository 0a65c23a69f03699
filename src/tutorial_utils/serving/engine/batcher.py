"""Admission control and the queue: texts of many requests, batched as a policy says.

A request that could not be answered in time is refused on arrival (load shedding). Otherwise it
would wait for nothing. In a queue so long that each text in it is too late, all work would be
wasted.

The worker that takes texts also tokenizes them, but only those that the policy considers. This
keeps tokenization off the event loop and needs no second thread. Callers who have left or are late
cost nothing.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from tutorial_utils.serving.engine.failures import DeadlineExceeded, Overloaded, Unavailable
from tutorial_utils.serving.engine.policy import BatchingPolicy, TokenBudget
from tutorial_utils.serving.engine.request import Item, Request

PACE_DECAY = 0.8  # weight of earlier batches in the mean time of a token (EWMA)
TEXT_DECAY = 0.99  # weight of earlier texts in the mean characters of a token (EWMA)
CHARACTERS = 4.0  # of a token: an estimate until texts have been tokenized
RESERVE = 16  # a request not parsed yet is refused when less than 1/16 of the places are free
WAIT_SHARE = 0.7  # of the remaining deadline may be spent in the queue; the rest is for the answer


class Batcher:
    """A queue bounded in texts. Each text holds its place until it is released.

    held: admitted and not released: queued or in the model. longest: tokens of one text at most.
    Safe to share between threads. ``clock``: seconds, as in ``Request``.
    """

    def __init__(
        self,
        limit: int,
        budget: int,
        max_age: float,
        clock: Callable[[], float] = time.perf_counter,
        longest: int = 512,
        policy: BatchingPolicy | None = None,
    ):
        self.limit, self.budget, self.longest = limit, budget, longest
        self.policy = policy or TokenBudget(budget, max_age)
        self._clock = clock
        self._changed = threading.Condition()
        self._held: dict[Item, int] = {}  # with its tokens, or an estimate
        self._held_tokens = 0
        self._queue: dict[Item, None] = {}  # in the order of arrival
        self._worked = self._done = 0.0  # seconds and tokens of the last runs, fading
        self._characters, self._tokens = 100 * CHARACTERS, 100.0  # of the last texts, fading
        self.work_since = -math.inf  # when a text last came into an empty queue
        self.closed = False

    @property
    def waiting(self) -> int:
        """Texts that hold a place."""
        return len(self._held)

    @property
    def queued(self) -> tuple[int, int]:
        """Texts that no worker has taken yet, and their tokens, partly estimated."""
        with self._changed:
            return len(self._queue), sum(self._held[item] for item in self._queue)

    def admit(self, request: Request) -> None:
        """Give each text of the request a place in the queue, or none of them.

        Raises:
            Overloaded: there is no room for all of them, or those before it take too long.
            Unavailable: closed.
        """
        with self._changed:
            if self.closed:
                raise Unavailable
            left = request.expires - self._clock()
            if refusal := self._refusal(len(request.items), left):
                raise refusal
            if not self._queue:
                self.work_since = self._clock()
            self._hold(request.items)
            self._queue.update(dict.fromkeys(request.items))
            self._changed.notify()

    def full(self, seconds: float) -> Overloaded | None:
        """Why a request with this much time would not be admitted, or None if it would.

        How many texts it has is unknown before it is read, and reading costs more than refusing.
        """
        with self._changed:
            return self._refusal(max(1, self.limit // RESERVE), seconds)

    def take(self, read: Callable[[Request], None]) -> list[Item] | None:
        """Wait for texts and take the next batch, sorted by length; None when closed.

        read: tokenizes a request (``Request.read``), or fails it; called outside the lock. What it
        raises ends this call, and no text is taken.
        """
        while True:
            with self._changed:
                self._wait_for_texts()
                if self.closed:
                    return None
                late = [i for i in self._queue if i.request.expires <= self._clock()]
                self._forget(late)
                unread = dict.fromkeys(i.request for i in self._oldest() if not i.request.tokenized)
            for item in late:  # outside the lock: failing a future runs its callbacks
                item.request.fail(DeadlineExceeded())
            for request in unread:
                read(request)
            with self._changed:
                for request in unread:
                    self._learn(request)
                known = list(itertools.takewhile(lambda i: i.request.tokenized, self._oldest()))
                batch = [known[i] for i in self._choose(known)] if known else []
                for item in batch:
                    del self._queue[item]
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
        """Learn from a batch of ``tokens``, padding aside, that took the worker ``seconds``.

        Large batches have more weight, because they take more of a queue's time. A batch whose
        callers have all left is ignored.
        """
        if not tokens:
            return
        with self._changed:
            self._worked = PACE_DECAY * self._worked + seconds
            self._done = PACE_DECAY * self._done + tokens

    def close(self) -> None:
        """Wake the workers one last time, and fail what no worker has taken."""
        with self._changed:
            self.closed = True
            left = list(self._queue)
            self._forget(left)
            self._changed.notify_all()
        for item in left:
            item.request.fail(Unavailable())

    def _refusal(self, texts: int, seconds: float) -> Overloaded | None:
        wait = self._held_tokens * self._token_seconds()
        full = len(self._held) + texts > self.limit
        # The pace counts once a full batch was measured: single texts say little about it.
        # An empty queue admits everything, or one slow run could cause refusals for ever.
        if full or (self._done >= self.budget and wait > WAIT_SHARE * seconds):
            return Overloaded(max(1, math.ceil(wait)))
        return None

    def _token_seconds(self) -> float:
        return self._worked / self._done if self._done else 0.0

    def _hold(self, items: Iterable[Item]) -> None:
        for item in items:
            guess = 2 + int(item.characters * self._tokens / self._characters)
            tokens = len(item.row) if item.request.tokenized else min(guess, self.longest)
            self._held_tokens += tokens - self._held.get(item, 0)
            self._held[item] = tokens

    def _learn(self, request: Request) -> None:
        """Count the tokens of a request that was read; forget one that could not be."""
        items = [item for item in request.items if item in self._queue]
        if not request.tokenized:
            return self._forget(items)
        self._hold(items)
        self._characters = TEXT_DECAY * self._characters + sum(item.characters for item in items)
        self._tokens = TEXT_DECAY * self._tokens + sum(len(item.row) for item in items)

    def _forget(self, items: Iterable[Item]) -> None:
        for item in items:
            self._held_tokens -= self._held.pop(item, 0)
            self._queue.pop(item, None)

    def _wait_for_texts(self) -> None:
        """Wait until there are texts and the policy wants no more of them, or until closed."""
        while not self.closed:
            left = None
            if self._queue and (left := self.policy.wait(len(self._queue), self._age())) <= 0:
                return
            self._changed.wait(left)

    def _choose(self, known: list[Item]) -> Sequence[int]:
        lengths = [len(item.row) for item in known]
        return self.policy.choose(lengths, self._age(), self._token_seconds())

    def _oldest(self) -> list[Item]:
        """The queued texts among which the policy chooses, in order of arrival."""
        tokens = (self._held[item] for item in self._queue)
        return list(itertools.islice(self._queue, self.policy.consider(tokens)))

    def _age(self) -> float:
        """Seconds that the oldest queued text has waited."""
        return self._clock() - next(iter(self._queue)).request.submitted
