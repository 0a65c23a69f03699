"""The cost of Ray's proxy: one replica compared with the service alone, each on one core.

Both serve the fine-tuned classifier and take turns. The callers and Ray's proxy use the machine's
other core. Run it on a quiet machine: ``python -m benchmarks.scale.ray_proxy [--quick]`` (about a
minute).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx

from benchmarks.common import run_folder
from benchmarks.servers import answers, free_port, running
from tutorial_utils.core import machine
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline

ROUNDS, CALLS = 8, 40  # for single texts
CALLERS, TEXTS, SECONDS = 4, 32, 4.0  # for many texts
ONE_CORE = {"TUTORIAL_CORES": "1", "RAY_USAGE_STATS_ENABLED": "0"}
ALONE, REPLICA = "the service alone", "a replica behind Ray's proxy"
CLUSTER = """
import sys
import ray
from ray import serve
from tutorial_utils.serving.ray_serve import ScaleSettings, application

folder, registry, port = sys.argv[1:]
ray.init(
    address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=folder
)
serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
serve.run(application(ScaleSettings(registry=registry, replicas=1)), route_prefix="/")
sys.stdin.read()  # until it is closed
serve.shutdown()
ray.shutdown()
"""


def main() -> None:
    """Start both, measure them in turns, store the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.ray_proxy")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="test the code with little effort; do not use the results",
    )
    quick = parser.parse_args().quick
    machine.describe()  # before a core is chosen
    texts = list(reviews.splits().test.texts)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, ExitStack() as stack:
        registry_path = Path(folder, "registry")
        pipeline.publish(registry_path)
        serve = [sys.executable, "-m", "tutorial_utils", "serve", "--registry", str(registry_path)]
        ports = {ALONE: free_port(), REPLICA: free_port()}
        replica = [sys.executable, "-c", CLUSTER, folder, str(registry_path), str(ports[REPLICA])]
        for name, command in {ALONE: [*serve, f"--port={ports[ALONE]}"], REPLICA: replica}.items():
            ready = partial(answers, f"http://127.0.0.1:{ports[name]}/readyz")
            env = os.environ | ONE_CORE
            stack.enter_context(running(command, ready, env=env, stdin=subprocess.PIPE))
        found = {"single_ms": {name: [] for name in ports}, "texts_per_s": {n: [] for n in ports}}
        for turn in range(1 if quick else ROUNDS):
            for name, port in ports.items():
                found["single_ms"][name].append(_single(port, texts[turn * CALLS :][:CALLS]))
        for _ in range(1 if quick else 3):
            for name, port in ports.items():
                found["texts_per_s"][name].append(_many(port, texts))
    for what, by_name in found.items():
        print(what, {name: round(statistics.median(v), 2) for name, v in by_name.items()})
    folder = run_folder(quick)
    folder.keep("ray", found)
    print(f"Written to {folder}.")


def _single(port: int, texts: Sequence[str]) -> float:
    """Median milliseconds of a request of one text, from one caller."""
    took = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for text in texts:
            start = time.perf_counter()
            client.post("/predict", json={"texts": [text]}).raise_for_status()
            took.append((time.perf_counter() - start) * 1e3)
    return statistics.median(took)


def _many(port: int, texts: Sequence[str]) -> float:
    """Texts per second of ``CALLERS`` callers, each of which waits for its answers."""
    end = time.perf_counter() + SECONDS

    def call(caller: int) -> int:
        answered = 0
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while time.perf_counter() < end:
                first = (caller * 401 + answered) % (len(texts) - TEXTS)
                body = {"texts": texts[first : first + TEXTS]}
                client.post("/predict", json=body).raise_for_status()
                answered += TEXTS
        return answered

    start = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as callers:
        answered = sum(callers.map(call, range(CALLERS)))
    return answered / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
