"""Three ways to batch behind the same engine: each text alone, by a timer, by tokens and length."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from load_texts import long_texts, mixed_texts, short_texts

from tutorial_utils import registry
from tutorial_utils.serving import engine as engines
from tutorial_utils.serving.batcher import Batcher
from tutorial_utils.serving.engine import Engine
from tutorial_utils.serving.metrics import Metrics
from tutorial_utils.serving.request import Item
from tutorial_utils.serving.settings import Settings

CALLERS = 64  # each with one text, and the next one as soon as it is answered
SIZE, TIMER = 8, 0.005  # texts of a timer's batch, and seconds that it waits for them


class Off(Batcher):
    """Each text alone, in the order of arrival."""

    def _choose(self, items: list[Item]) -> list[Item]:
        return items[:1]


class Timer(Batcher):
    """So many texts in the order of arrival, or fewer when the time is over: the usual way."""

    def take(self, encode: Callable[[list[str]], list[list[int]]]) -> list[Item] | None:
        end = None
        while not self.closed:
            with self._changed:
                if len(self._queue) >= SIZE:
                    break
                if self._queue:
                    end = end or self._clock() + TIMER
                    if self._clock() >= end:
                        break
                self._changed.wait(None if end is None else max(0.0, end - self._clock()))
        return super().take(encode)

    def _oldest(self) -> list[Item]:
        return list(self._queue)[:SIZE]

    def _choose(self, items: list[Item]) -> list[Item]:
        return sorted(items, key=lambda item: len(item.row))


MODES = {"off": Off, "timer": Timer, "tokens, sorted": Batcher}
KINDS = ("short", "long", "mixed")


def batch(folder: Path, core: int, kind: str, mode: str, seconds: float) -> dict:
    """Texts a second and the share of padding, in this process on one core."""
    os.sched_setaffinity(0, {core})
    texts = {"short": short_texts, "long": lambda: long_texts(200), "mixed": mixed_texts}[kind]()
    model = registry.load(folder.parents[1], folder.parent.name, folder.name)
    metrics = Metrics()
    with mock.patch.object(engines, "Batcher", MODES[mode]):
        engine = Engine(model, Settings(registry=folder.parents[1]), metrics=metrics)

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
