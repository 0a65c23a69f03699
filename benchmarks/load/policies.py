"""Three batching policies behind the same engine: each text alone, a timer, tokens and length."""

import asyncio
import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.texts import long_texts, mixed_texts, short_texts
from tutorial_utils import registry
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.settings import Settings

CALLERS = 64  # each sends one text, and the next as soon as it is answered


class OneText:
    """No batching: each text alone, in order of arrival."""

    def wait(self, texts: int, age: float) -> float:
        return 0.0

    def consider(self, tokens: Iterable[int]) -> int:
        return 1

    def choose(self, lengths: Sequence[int], age: float, token_seconds: float) -> Sequence[int]:
        return (0,)


@dataclass(frozen=True)
class Timer:
    """The common policy: ``size`` texts in order of arrival, or fewer after ``seconds``."""

    size: int = 8
    seconds: float = 0.005

    def wait(self, texts: int, age: float) -> float:
        return 0.0 if texts >= self.size else max(0.0, self.seconds - age)

    def consider(self, tokens: Iterable[int]) -> int:
        return len(list(itertools.islice(tokens, self.size)))

    def choose(self, lengths: Sequence[int], age: float, token_seconds: float) -> Sequence[int]:
        return sorted(range(len(lengths)), key=lengths.__getitem__)


POLICIES = {"off": OneText(), "timer": Timer(), "tokens, sorted": None}  # None: the engine's own
KINDS = ("short", "long", "mixed")


def batch(folder: Path, core: int, kind: str, mode: str, seconds: float) -> dict:
    """Texts per second and the share of padding, in this process on one core."""
    os.sched_setaffinity(0, {core})
    texts = {"short": short_texts, "long": lambda: long_texts(200), "mixed": mixed_texts}[kind]()
    model = registry.load(folder.parents[1], folder.parent.name, folder.name)
    metrics = Metrics()
    # A long deadline, so that no text is refused or late on a slow machine.
    settings = Settings(registry=folder.parents[1], deadline=60.0)
    engine = Engine(model, settings, metrics=metrics, policy=POLICIES[mode])

    def count(name: str) -> float:
        labels = {"model": model.manifest.name, "version": model.manifest.version}
        return metrics.registry.get_sample_value(name, labels) or 0.0

    async def call(number: int, until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            await engine.predict([texts[(number + done * CALLERS) % len(texts)]])
            done += 1
        return done

    async def run(length: float) -> float:
        start = time.perf_counter()
        done = await asyncio.gather(*(call(i, start + length) for i in range(CALLERS)))
        return sum(done) / (time.perf_counter() - start)

    async def measured() -> dict:
        await run(seconds / 4)  # warm
        names = ("serve_padding_tokens_total", "serve_batch_tokens_sum", "serve_batch_tokens_count")
        before = [count(name) for name in names]
        speed = await run(seconds)
        padding, tokens, runs = (count(n) - b for n, b in zip(names, before, strict=True))
        return {
            "texts_per_s": speed,
            "padding_waste": padding / tokens,
            "tokens_a_batch": tokens / runs,
            "tokens_per_s": (tokens - padding) / seconds,
        }

    try:
        return asyncio.run(measured())
    finally:
        engine.close()
