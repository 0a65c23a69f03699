"""A measurement under way: its processes, its time limit and its results."""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.gpu import report
from benchmarks.gpu.onnx_runner import Onnx
from benchmarks.gpu.torch_runner import Torch
from benchmarks.gpu.workers import Failed, Worker
from tutorial_utils.core import paths


@dataclass
class Run:
    """A measurement under way: what was asked, what was found, and which processes live."""

    asked: argparse.Namespace
    config: dict
    found: dict
    workers: dict[str, Worker]
    begin: float

    @property
    def remaining(self) -> float:
        return self.asked.limit - (time.monotonic() - self.begin)

    def start(self, candidates: dict[str, Onnx | Torch]) -> None:
        for name, candidate in candidates.items():
            if name not in self.workers:
                given = (candidate, self.asked.graphs, self.config, self.asked.provider)
                self.workers[name] = Worker(*given)

    def ask(self, name: str, method: str, *given: object, build: float = 120) -> object:
        """Ask a worker; None, and no more of it, where it failed. The failure is noted."""
        if name not in self.workers:
            return None
        try:
            limits = {"timeout": min(60.0, self.remaining), "build": min(build, self.remaining)}
            return self.workers[name].ask(method, *given, **limits)
        except Failed as failed:
            self.found["failures"][name] = str(failed)
            self.workers.pop(name).stop()
            return None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long a stage took, and write all that is known."""
        print(f"{time.monotonic() - self.begin:6.1f} s  {name}", flush=True)
        begin = time.monotonic()
        yield
        self.found["seconds"][name] = round(time.monotonic() - begin, 1)
        self.write()

    def write(self) -> None:
        text = json.dumps(self.found, indent=1, ensure_ascii=False) + "\n"
        for name, content in (("gpu.json", text), ("gpu.md", report.markdown(self.found))):
            with paths.replacing(self.asked.out / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
