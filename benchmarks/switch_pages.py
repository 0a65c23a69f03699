"""Latency of a live service while a second version loads, with three uses of huge pages.

    python -m benchmarks.switch_pages REGISTRY MODEL [--rounds 7]

Memory is moved to huge pages for nothing (``none``), the new version (``own``), or all anonymous
memory of the process (``all``). Each measurement has a process of its own, because moved memory
stays moved; the modes are in random order in each round. Callers send one text at a time while a
version is loaded and closed. The model's recipe should have ``huge_pages``. Writes to
``switch_pages.json``, for each mode: p99 and longest latency in ms (medians over the rounds),
seconds of a load, and the ratios of ``own`` and ``all`` to ``none`` with their intervals.
"""

import argparse
import asyncio
import dataclasses
import random
import time
from pathlib import Path

import numpy as np

from benchmarks.common import run_folder
from benchmarks.isolated import in_a_process
from tutorial_utils import registry
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.runtime import huge_pages
from tutorial_utils.runtime.batching import INPUTS
from tutorial_utils.runtime.session import open_session
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.settings import Settings

MODES = ("none", "own", "all")
CALLERS = 2
LOADS = 5  # in a process; the first one warms up
TEXT = "A joy from the first scene to the last, told with care and wit."


def load(folder: Path, model: registry.LoadedModel, mode: str) -> None:
    """Open the model again as a switch does, with huge pages for the memory of ``mode``."""
    session = dataclasses.replace(model.manifest.forms[0].recipe.session, huge_pages=mode == "own")
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


async def _loads(root: Path, name: str, mode: str) -> dict[str, float]:
    model = registry.load(root, name)
    engine = Engine(model, Settings(registry=root, model=name))
    folder = root / name / model.manifest.version
    times, seconds = [], []
    for number in range(LOADS):
        found, took = await measure(engine, folder, mode)
        if number:
            times += found
            seconds.append(took)
    engine.close()
    return {
        "requests": len(times),
        "p99_ms": float(np.percentile(times, 99)),
        "longest_ms": max(times),
        "load_s": float(np.median(seconds)),
    }


def one_process(root: Path, name: str, mode: str) -> dict[str, float]:
    """Some loads of one mode: requests, p99, longest latency, and seconds of a load."""
    return asyncio.run(_loads(root, name, mode))


def run(root: Path, name: str, rounds: int) -> dict:
    """Medians over the rounds for each mode, and ratios to ``none`` over the rounds."""
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    order, shuffle = list(MODES), random.Random(0)
    for _ in range(rounds):
        shuffle.shuffle(order)
        for mode in order:
            found[mode].append(in_a_process(one_process, root, name, mode))
    fields = ("requests", "p99_ms", "longest_ms", "load_s")
    result: dict = {
        mode: {field: round(float(np.median([one[field] for one in runs])), 3) for field in fields}
        for mode, runs in found.items()
    }
    for mode in MODES[1:]:
        for field in fields[1:]:
            times, reference = ([one[field] for one in found[m]] for m in (mode, "none"))
            result[mode][f"{field} over none"] = Ratio.of_rounds(times, reference).cell
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("registry", type=Path)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    folder, name = run_folder(), options.model
    found = run(options.registry, name, options.rounds)
    folder.keep("switch_pages", folder.read("switch_pages") | {name: found})
    print(found, f"Written to {folder}.", sep="\n")
