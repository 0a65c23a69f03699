"""Does the service stay stable, and does each request get the right answer?

``python -m benchmarks.soak [chaos] [soak] [--minutes 30] [--requests 10000] [--quick]`` sends the
bad requests of ``chaos``. Then it sends mixed load and records the memory, threads and open files
of the server's process. ``report`` only draws the report again.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import stages
from benchmarks.load.servers import OURS, cores, predicts, published, started
from benchmarks.load.texts import bodies, long_texts, short_texts
from benchmarks.servers import free_port, on_core, running
from benchmarks.soak import chaos
from benchmarks.soak.report import draw, targets
from benchmarks.soak.watch import soak
from tutorial_utils.data import assets, reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.registry import ModelForm, write_version


def run_chaos(requests: int, quick: bool) -> Iterator[dict]:
    """Send bad requests to a service of the fp32 classifier, whose answers no batch changes."""
    requests = min(requests, 300) if quick else requests
    with tempfile.TemporaryDirectory() as registry:
        tokenizer = assets.fetch(assets.ENCODER) / "tokenizer.json"
        file, made = pipeline.ensure("fused"), pipeline.recipe("fused")
        forms = [ModelForm(file, made)]
        write_version(Path(registry), "sentiment", forms, tokenizer, reviews.LABELS)
        port = free_port()
        url = f"http://127.0.0.1:{port}/predict"
        command = [sys.executable, "-m", "benchmarks.soak.chaos", registry, str(port)]
        with running(command, partial(predicts, url)):
            start = time.perf_counter()
            ends = chaos.storm(url, short_texts()[:200], requests)
            took = time.perf_counter() - start
            gauges = settled(url)
    yield {"requests": requests, "took_s": took, "ends": dict(ends), "gauges": gauges}


def settled(url: str, seconds: float = 5.0) -> dict[str, float]:
    """Wait until the gauges are 0, at most ``seconds``; return them.

    The service may notice a disconnect late.
    """
    until = time.monotonic() + seconds
    while any((found := chaos.gauges(url)).values()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def run_soak(minutes: float, quick: bool) -> Iterator[dict]:
    """Short and long texts, alone and together, against the tuned classifier."""
    minutes = min(minutes, 0.2) if quick else minutes
    generator, core = cores()
    mixed = bodies(1)[:100] + bodies(8)[:50] + [{"texts": [t]} for t in long_texts(400)[:10]]
    mixed += [{"texts": short_texts()[:32]}]
    with published() as folder, started(OURS, folder, core) as server, on_core(generator):
        watched = soak(server.url, server.process.pid, mixed, 60 * minutes)
    yield {"minutes": minutes} | asdict(watched) | {"growth": watched.growth()}


def main() -> None:
    """Run the named stages, or both. Exit with an error if a target is missed."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--requests", type=int, default=10_000)
    options, words = parser.parse_known_args()
    every = {
        "chaos": partial(run_chaos, options.requests),
        "soak": partial(run_soak, options.minutes),
    }
    found = stages.run("soak", words, every, draw)
    if missed := [t.what for t in targets(found) if not t.met]:
        sys.exit(f"Missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
