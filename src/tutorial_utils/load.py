"""A load test that tells the truth: arrivals do not wait for answers; time counts from the plan.

A closed loop (send, wait, send again) slows down with the server and so never sees a queue. Here
requests are sent at random moments of a fixed mean rate (a Poisson process), whatever happens to
the earlier ones, and each latency counts from the moment at which the request was due.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import numpy as np


@dataclass(frozen=True)
class Answer:
    """What came of one request. Moments in seconds from the start of the run.

    status: HTTP; 0: no answer, and ``body`` names the error. ConnectError: it was never let in.
    """

    number: int  # of the request in the plan
    due: float
    ended: float
    status: int
    body: dict = field(repr=False)


@dataclass(frozen=True)
class Load:
    """What happened to the requests of one run at one rate."""

    rate: float  # requests a second that were due
    seconds: float
    statuses: dict[int, int]  # HTTP status → requests; 0: no answer
    latencies_ms: np.ndarray  # of the answers with status 200, from the moment they were due
    answers: tuple[Answer, ...] = field(default=(), repr=False)  # in the order of their coming
    began: float = 0.0  # ``time.perf_counter`` at the start of the run

    @property
    def goodput(self) -> float:
        """Requests answered with 200, a second."""
        return self.statuses.get(200, 0) / self.seconds

    def percentile(self, q: float) -> float:
        """Latency in milliseconds that q percent of the good answers do not exceed."""
        return float(np.percentile(self.latencies_ms, q)) if len(self.latencies_ms) else np.nan


def offer(
    url: str,
    bodies: Sequence[dict],
    rate: float,
    seconds: float,
    seed: int = 0,
    callers: Sequence[str] = (),
) -> Load:
    """Send ``bodies`` in turn to ``url`` at ``rate`` a second for ``seconds``, and wait for all.

    callers: names that the requests bear in turn, as ``x-caller-id``.

    Raises:
        ValueError: the address is not on this machine: load is for servers of your own.
    """
    if httpx.URL(url).host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("Offer load to a server on this machine only (127.0.0.1).")
    plan = _send(url, bodies, rate, seconds, seed, callers)
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop running already
        return thread.submit(asyncio.run, plan).result()


async def _send(
    url: str,
    bodies: Sequence[dict],
    rate: float,
    seconds: float,
    seed: int,
    callers: Sequence[str],
) -> Load:
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 2) + 10)
    due = np.cumsum(gaps)
    due = due[due < seconds]
    answers: list[Answer] = []
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        start = time.perf_counter()

        async def ask(i: int) -> None:
            await asyncio.sleep(max(0.0, start + due[i] - time.perf_counter()))
            headers = {"x-caller-id": callers[i % len(callers)]} if callers else {}
            try:
                response = await client.post(url, json=bodies[i % len(bodies)], headers=headers)
                kind = response.headers.get("content-type", "")
                body = response.json() if "json" in kind else {"error": response.text}
                status = response.status_code
            except httpx.TransportError as error:
                status, body = 0, {"error": type(error).__name__}
            ended = time.perf_counter() - start
            answers.append(Answer(i, float(due[i]), ended, status, body))

        await asyncio.gather(*(ask(i) for i in range(len(due))))
        took = max(seconds, time.perf_counter() - start)
    statuses = dict(Counter(answer.status for answer in answers))
    good = np.array([(a.ended - a.due) * 1e3 for a in answers if a.status == 200])
    return Load(rate, took, statuses, good, tuple(answers), start)
