"""A load test that tells the truth: arrivals do not wait for answers; time counts from the plan.

A closed loop (send, wait, send again) slows down with the server and so never sees a queue. Here
requests are sent at random moments of a fixed mean rate (a Poisson process), whatever happens to
the earlier ones, and each latency counts from the moment at which the request was due.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np


@dataclass(frozen=True)
class Load:
    """What happened to the requests of one run at one rate."""

    rate: float  # requests a second that were due
    seconds: float
    statuses: dict[int, int]  # HTTP status → requests; 0: no answer
    latencies_ms: np.ndarray  # of the answers with status 200, from the moment they were due

    @property
    def goodput(self) -> float:
        """Requests answered with 200, a second."""
        return self.statuses.get(200, 0) / self.seconds

    def percentile(self, q: float) -> float:
        """Latency in milliseconds that q percent of the good answers do not exceed."""
        return float(np.percentile(self.latencies_ms, q)) if len(self.latencies_ms) else np.nan


def offer(url: str, bodies: Sequence[dict], rate: float, seconds: float, seed: int = 0) -> Load:
    """Send ``bodies`` in turn to ``url`` at ``rate`` a second for ``seconds``, and wait for all.

    Raises:
        ValueError: the address is not on this machine: load is for servers of your own.
    """
    if httpx.URL(url).host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("Offer load to a server on this machine only (127.0.0.1).")
    plan = _send(url, bodies, rate, seconds, seed)
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop running already
        return thread.submit(asyncio.run, plan).result()


async def _send(url: str, bodies: Sequence[dict], rate: float, seconds: float, seed: int) -> Load:
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 2) + 10)
    due = np.cumsum(gaps)
    due = due[due < seconds]
    results: list[tuple[int, float]] = []
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        start = time.perf_counter()

        async def ask(i: int) -> None:
            await asyncio.sleep(max(0.0, start + due[i] - time.perf_counter()))
            try:
                status = (await client.post(url, json=bodies[i % len(bodies)])).status_code
            except httpx.TransportError:
                status = 0
            results.append((status, (time.perf_counter() - start - due[i]) * 1e3))

        await asyncio.gather(*(ask(i) for i in range(len(due))))
        took = max(seconds, time.perf_counter() - start)
    statuses: dict[int, int] = {}
    for status, _ in results:
        statuses[status] = statuses.get(status, 0) + 1
    good = np.array([ms for status, ms in results if status == 200])
    return Load(rate, took, statuses, good)
