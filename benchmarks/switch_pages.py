"""Latency of a live service while a second version loads, with three uses of huge pages.

    python benchmarks/switch_pages.py REGISTRY MODEL [--rounds 7]

Memory is moved to huge pages for nothing (``none``), the new version (``own``), or all anonymous
memory of the process (``all``). The modes take turns. In each turn, callers send one text at a time
while a version is loaded and closed. The model's recipe should have ``huge_pages``. Prints one JSON
object: p99 and longest latency in ms over all rounds, and seconds of a load.
"""

import argparse
import asyncio
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from tutorial_utils import registry
from tutorial_utils.runtime import huge_pages
from tutorial_utils.runtime.batching import INPUTS
from tutorial_utils.runtime.session import open_session
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.settings import Settings

MODES = ("none", "own", "all")
CALLERS = 2
TEXT = "A joy from the first scene to the last, told with care and wit."


def load(folder: Path, model: registry.LoadedModel, mode: str) -> None:
    """Open the model again as a switch does, with huge pages for the memory of ``mode``."""
    session = dataclasses.replace(model.manifest.recipe.session, huge_pages=mode == "own")
    opened = open_session(folder / "model.onnx", session)
    if mode == "all":
        huge_pages.collapse(huge_pages.anonymous())
    dataclasses.replace(model, session=opened).logits(
        {name: np.ones((1, 8), np.int64) for name in INPUTS}
    )


async def measure(engine: Engine, folder: Path, mode: str) -> tuple[list[float], float]:
    """Latencies in ms of requests during one load, and the seconds of the load."""
    loading = asyncio.create_task(asyncio.to_thread(load, folder, engine.model, mode))
    began, times = time.perf_counter(), []

    async def call() -> None:
        while not loading.done():
            asked = time.perf_counter()
            await engine.predict([TEXT])
            times.append(1e3 * (time.perf_counter() - asked))

    await asyncio.gather(loading, *(call() for _ in range(CALLERS)))
    return times, time.perf_counter() - began


async def run(root: Path, name: str, rounds: int) -> dict:
    model = registry.load(root, name)
    engine = Engine(model, Settings(registry=root, model=name))
    folder = root / name / model.manifest.version
    found = {mode: ([], []) for mode in MODES}
    for number in range(rounds + 1):  # the first one warms up
        for mode in MODES:
            times, seconds = await measure(engine, folder, mode)
            if number:
                found[mode][0].extend(times)
                found[mode][1].append(seconds)
    engine.close()
    return {
        mode: {
            "requests": len(times),
            "p99_ms": round(float(np.percentile(times, 99)), 2),
            "longest_ms": round(max(times), 2),
            "load_s": round(float(np.median(seconds)), 3),
        }
        for mode, (times, seconds) in found.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("registry", type=Path)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(run(options.registry, options.model, options.rounds)), indent=1))
