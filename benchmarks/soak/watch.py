"""A server process under mixed load, observed from outside: memory, threads, open files."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks.soak.chaos import gauges
from tutorial_utils.bench import load_generator

WARM = 0.25  # share of the time; caches and arenas grow until they have seen the largest batch
CALLERS, PAUSE = 6, 0.02  # mean seconds between an answer and the next request


@dataclass(frozen=True)
class Watched:
    """Samples of a process, and the statuses of the requests during that time."""

    seconds: list[float]
    rss_mb: list[float]
    threads: list[int]
    files: list[int]
    statuses: dict[str, int]

    def growth(self) -> dict[str, float]:
        """Change from the first to the last third after the warm-up; of RSS as a share."""
        start = int(len(self.seconds) * WARM)
        third = max(1, (len(self.seconds) - start) // 3)

        def ends(values: Sequence[float]) -> tuple[float, float]:
            return float(np.median(values[start : start + third])), float(
                np.median(values[-third:])
            )

        (mb, later), (threads, more), (files, most) = map(
            ends, (self.rss_mb, self.threads, self.files)
        )
        return {"rss": later / mb - 1, "threads": more - threads, "files": most - files}


def soak(url: str, pid: int, bodies: Sequence[dict], seconds: float, every: float = 1.0) -> Watched:
    """Send good, bad and abandoned requests for ``seconds``, and sample process ``pid``."""
    return load_generator.run_in_thread(_soak(url, psutil.Process(pid), bodies, seconds, every))


async def _soak(
    url: str, process: psutil.Process, bodies: Sequence[dict], seconds: float, every: float
) -> Watched:
    connections, chance, statuses = load_generator.Connections(url), random.Random(0), Counter()
    requests = [connections.request(body) for body in bodies]
    start = time.perf_counter()
    samples = []

    async def call() -> None:
        while time.perf_counter() - start < seconds:
            kind, request = chance.random(), chance.choice(requests)
            if kind < 0.05:  # leaves
                _, writer = await connections.connection()
                writer.write(request)
                await asyncio.sleep(0.001)
                writer.close()
                statuses["left"] += 1
            else:
                sent = connections.request(b'{"texts": [') if kind < 0.1 else request
                statuses[str((await connections.ask(sent)).status)] += 1
            await asyncio.sleep(chance.expovariate(1 / PAUSE))

    async def look() -> None:
        while (now := time.perf_counter() - start) < seconds:
            with process.oneshot():
                rss = process.memory_info().rss / 2**20
                samples.append((now, rss, process.num_threads(), process.num_fds()))
            await asyncio.to_thread(gauges, url)  # a scrape, as Prometheus would
            await asyncio.sleep(every)

    await asyncio.gather(look(), *(call() for _ in range(CALLERS)))
    await connections.close()
    times, rss, threads, files = (list(column) for column in zip(*samples, strict=True))
    return Watched(times, rss, threads, files, dict(statuses))
