"""Load that goes on until it is told to stop.

So a lesson waits for what it shows, and not for a number of seconds: on a busy machine it takes
longer, and shows the same.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np

from tutorial_utils.bench.load_generator import Answer, Connections, Load

LONGEST = 120.0  # seconds: a lesson that fails half-way leaves no load behind


class Steady:
    """Requests at random moments of a mean rate, from now on until ``stop``.

    It is an open loop, as ``load_generator.offer``. ``bodies`` and ``callers`` are taken in turn:
    request ``number`` has ``bodies[number % len(bodies)]``. seed: of the moments.
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[dict],
        rate: float,
        callers: Sequence[str] = ("",),
        seed: int = 0,
    ):
        self.answers: list[Answer] = []
        self._url, self._bodies, self._rate, self._callers = url, bodies, rate, callers
        self._seed = seed
        self._stopped = Event()
        self._thread = ThreadPoolExecutor(1)
        self._run = self._thread.submit(asyncio.run, self._offer())

    def answered_by(self, version: str) -> int:
        """How many requests this version has answered so far."""
        return sum(answer.body.get("version") == version for answer in self.answers.copy())

    def stop(self) -> Load:
        """Send no more, wait for the last answers, and return all."""
        self._stopped.set()
        try:
            return self._run.result()
        finally:
            self._thread.shutdown()

    async def _offer(self) -> Load:
        connections = Connections(self._url)
        random = np.random.default_rng(self._seed)
        start = time.perf_counter()
        due, number = 0.0, 0

        async def ask(number: int, due: float) -> None:
            body = self._bodies[number % len(self._bodies)]
            caller = self._callers[number % len(self._callers)]
            reply = await connections.ask(connections.request(body, caller))
            self.answers.append(Answer(number, due, time.perf_counter() - start, reply))

        async with asyncio.TaskGroup() as tasks:
            while not self._stopped.is_set() and due < LONGEST:
                due += random.exponential(1 / self._rate)
                await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
                tasks.create_task(ask(number, due))
                number += 1
        took = time.perf_counter() - start
        await connections.close()
        return Load(number / took, took, tuple(self.answers), start)
