"""What a lone text costs through the engine, and by a direct call of the same session."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from load_texts import bodies

from tutorial_utils import batching
from tutorial_utils.serving import registry
from tutorial_utils.serving.engine import Engine, softmax
from tutorial_utils.serving.settings import Settings


def idle_ratio(folder: Path, cores: Sequence[int], calls: int) -> dict:
    """Median milliseconds of both, in turns, in this process on ``cores``; and their ratio."""
    os.sched_setaffinity(0, cores)
    model = registry.load(folder.parents[1], folder.parent.name, folder.name)
    engine = Engine(model, Settings(registry=folder.parents[1]))
    texts = [body["texts"] for body in bodies(1)]

    def direct(given: list[str]) -> np.ndarray:
        rows = model.encode(given)
        return softmax(model.logits(batching.pad(rows, padding=model.manifest.recipe.padding)))

    async def both() -> list[tuple[float, float]]:
        times = []
        for i in range(calls + 20):
            given = texts[i % len(texts)]
            start = time.perf_counter()
            direct(given)
            middle = time.perf_counter()
            await engine.predict(given)
            times.append((middle - start, time.perf_counter() - middle))
        return times[20:]

    times = np.array(asyncio.run(both())) * 1e3
    engine.close()
    alone, through = np.median(times, axis=0).tolist()
    return {"direct_ms": alone, "engine_ms": through, "ratio": through / alone}
