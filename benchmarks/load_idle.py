"""What a lone text costs through the engine, and by a direct call of the same session."""

import asyncio
import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from load_texts import bodies

from tutorial_utils import batching
from tutorial_utils.serving import registry
from tutorial_utils.serving.engine import Engine, softmax
from tutorial_utils.serving.settings import Settings

BLOCK = 10  # calls in a row, so that each way finds the caches as it left them itself


def idle_ratio(folder: Path, cores: Sequence[int], calls: int) -> dict:
    """Median milliseconds of both, in turns, in this process on ``cores``; and their ratio.

    The first of each block is not counted: it finds the processor as the other way left it, which
    no call of a service does.
    """
    os.sched_setaffinity(0, cores)
    model = registry.load(folder.parents[1], folder.parent.name, folder.name)
    engine = Engine(model, Settings(registry=folder.parents[1]))
    texts = itertools.cycle([body["texts"] for body in bodies(1)])

    async def direct(given: list[str]) -> np.ndarray:
        rows = model.encode(given)
        return softmax(model.logits(batching.pad(rows, padding=model.manifest.recipe.padding)))

    async def block(ask: Callable, given: list[list[str]]) -> list[float]:
        times = []
        for asked in given:
            start = time.perf_counter()
            await ask(asked)
            times.append(time.perf_counter() - start)
        return times[1:]

    async def both() -> dict[str, list[float]]:
        times: dict[str, list[float]] = {"direct": [], "engine": []}
        for number in range(math.ceil(calls / BLOCK) + 2):
            given = list(itertools.islice(texts, BLOCK))
            for name, ask in (("direct", direct), ("engine", engine.predict)):
                taken = await block(ask, given)
                times[name] += taken if number >= 2 else []  # the first two blocks warm up
        return times

    times = {name: 1e3 * float(np.median(t)) for name, t in asyncio.run(both()).items()}
    engine.close()
    alone, through = times["direct"], times["engine"]
    return {"direct_ms": alone, "engine_ms": through, "ratio": through / alone}
