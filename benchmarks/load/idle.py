"""Latency of a single text: a direct call of the session, and engines with each way to batch."""

import asyncio
import itertools
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from benchmarks.load.policies import POLICIES
from benchmarks.load.texts import bodies
from tutorial_utils import registry
from tutorial_utils.quality import softmax
from tutorial_utils.runtime import batching
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.settings import Settings

DIRECT = "direct call"
BLOCK = 10  # calls in a row, so that each way finds its own data in the caches


def lone_text_ms(folder: Path, cores: Sequence[int], calls: int) -> dict[str, float]:
    """Median milliseconds of each way, in turns, in this process on ``cores``.

    The first call of each block is not counted, because another way has just used the processor's
    caches. That does not happen in a service.
    """
    os.sched_setaffinity(0, cores)
    model = registry.load(folder.parents[1], folder.parent.name, folder.name)
    texts = itertools.cycle([body["texts"] for body in bodies(1)])

    async def direct(given: list[str]) -> np.ndarray:
        rows = model.encode(given)
        return softmax(model.logits(batching.pad(rows, padding=model.recipe.padding)))

    ways: dict[str, Callable[[list[str]], Awaitable]] = {DIRECT: direct}
    with ExitStack() as stack:
        for mode, policy in POLICIES.items():
            engine = Engine(model, Settings(registry=folder.parents[1]), policy=policy)
            ways[mode] = stack.enter_context(closing(engine)).predict
        times = asyncio.run(_in_turns(ways, texts, math.ceil(calls / BLOCK)))
    return {way: 1e3 * float(np.median(t)) for way, t in times.items()}


async def _in_turns(ways: dict, texts: itertools.cycle, blocks: int) -> dict[str, list[float]]:
    """Seconds of each call; the first two blocks warm up."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(blocks + 2):
        given = list(itertools.islice(texts, BLOCK))
        for way, ask in ways.items():
            taken = []
            for asked in given:
                start = time.perf_counter()
                await ask(asked)
                taken.append(time.perf_counter() - start)
            times[way] += taken[1:] if number >= 2 else []
    return times
