"""What every built candidate can do, and how it is timed.

There are two ways to time one: ``device_step``, a call that leaves its result on the device, and
``answer``, from NumPy arrays on the host to logits on the host.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

Shape = tuple[int, int]  # (batch, sequence)


def inputs(shape: Shape, vocabulary: int, seed: int, padded: bool = False) -> tuple:
    """Token ids, token types and mask, int64 (batch, sequence); rows full, or of random length."""
    generator = np.random.default_rng((*shape, seed))
    ids = generator.integers(1, vocabulary, shape)
    lengths = generator.integers(1, shape[1], shape[0], endpoint=True) if padded else shape[1]
    mask = np.arange(shape[1]) < np.broadcast_to(lengths, shape[0])[:, None]
    return ids * mask, np.zeros_like(ids), mask.astype(np.int64)


class Runner:
    """What a built candidate can do; subclasses know how."""

    def __init__(self, config: dict, device: str) -> None:
        self.device = device
        self.vocabulary = config.get("vocab_size", 30_522)
        self.hidden = config.get("hidden_size", 768)
        self.shapes: dict[Shape, SimpleNamespace] = {}

    def answer(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Logits on the host, from arrays on the host."""
        raise NotImplementedError

    def device_step(self, shape: Shape) -> Callable[[], object]:
        """A call on inputs that are on the device; its result stays there. Does not wait."""
        raise NotImplementedError

    def state(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> tuple:
        """Logits and last hidden state, in float32 on the host."""
        raise NotImplementedError

    def arrays(self, shape: Shape, seed: int, padded: bool = False) -> tuple:
        return tuple(a.astype(self.integers) for a in inputs(shape, self.vocabulary, seed, padded))

    def about(self) -> dict[str, str]:
        """Versions of the libraries that do the work."""
        raise NotImplementedError

    def synchronize(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def time(self, shape: Shape, measure: str, seconds: float) -> float:
        """Milliseconds of a call. ``device``: the mean of calls in a row; ``host``: the median."""
        if measure == "device":
            step = self.device_step(shape)
        else:
            arrays = self.arrays(shape, seed=0)

            def step() -> None:
                self.answer(*arrays)

        warmed, begin = 0, time.perf_counter()
        while warmed < 3 or time.perf_counter() - begin < seconds / 2:
            step()
            self.synchronize()
            warmed += 1
        calls = max(5, int(seconds * warmed / (time.perf_counter() - begin)))
        taken = []
        begin = time.perf_counter()
        for _ in range(calls):
            before = time.perf_counter()
            step()
            taken.append(time.perf_counter() - before)
        self.synchronize()
        mean = (time.perf_counter() - begin) / calls
        return 1e3 * (mean if measure == "device" else float(np.median(taken)))

    def texts(self, lengths: list[int], batch: int, passes: int) -> list[float]:
        """Texts per second of each pass: sorted by length, padded to a multiple of 16."""
        lengths = sorted(lengths)
        batches = []
        for at in range(0, len(lengths), batch):
            rows = lengths[at : at + batch]
            ids, types, _ = inputs((len(rows), -(-rows[-1] // 16) * 16), self.vocabulary, seed=at)
            mask = (np.arange(ids.shape[1]) < np.array(rows)[:, None]).astype(self.integers)
            batches.append((ids.astype(self.integers) * mask, types.astype(self.integers), mask))
        found = []
        for _ in range(passes + 1):  # the first one warms up
            begin = time.perf_counter()
            for arrays in batches:
                self.answer(*arrays)
            found.append(len(lengths) / (time.perf_counter() - begin))
        return found[1:]

    def kernels(self, shape: Shape, calls: int = 10) -> dict:
        """Kernels of one call: how many, their summed microseconds, and the costliest by name."""
        from torch import profiler

        step = self.device_step(shape)
        step()
        self.synchronize()
        kind = profiler.ProfilerActivity
        with profiler.profile(
            activities=[kind.CUDA if self.device == "cuda" else kind.CPU]
        ) as seen:
            for _ in range(calls):
                step()
            self.synchronize()
        events = [e for e in seen.key_averages() if e.self_device_time_total > 0]
        events.sort(key=lambda e: -e.self_device_time_total)
        return {
            "kernels": sum(e.count for e in events) / calls,
            "microseconds": sum(e.self_device_time_total for e in events) / calls,
            "costliest": [
                {
                    "name": e.key[:160],
                    "calls": e.count / calls,
                    "microseconds": e.self_device_time_total / calls,
                }
                for e in events[:16]
            ],
        }
