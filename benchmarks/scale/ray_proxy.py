"""What a request pays for Ray's proxy: one replica beside the service alone, each on one core.

Writes ``results/ray.json``, which ``scale_out.py`` shows. Both serve the fine-tuned classifier and
take turns; the callers and Ray's proxy use the machine's other core. Run it on a quiet machine:
``python benchmarks/ray_serve.py`` (about a minute).
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from common import write_json

ROUNDS, CALLS = 8, 40  # of single texts
CALLERS, TEXTS, SECONDS = 4, 32, 4.0  # of many
ONE_CORE = {"TUTORIAL_CORES": "1", "RAY_USAGE_STATS_ENABLED": "0"}
ALONE, REPLICA = "the service alone", "a replica behind Ray's proxy"


def main() -> None:
    """Start both, let them take turns, keep what was measured."""
    from tutorial_utils import reviews, steps

    texts = list(reviews.splits().test.texts)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, ExitStack() as stack:
        shelf = Path(folder, "registry")
        steps.publish(shelf)
        serve = [sys.executable, "-m", "tutorial_utils", "serve", "--registry", str(shelf)]
        ports = {ALONE: _free_port(), REPLICA: _free_port()}
        stack.enter_context(_running([*serve, "--port", str(ports[ALONE])], ports[ALONE]))
        cluster = [sys.executable, __file__, "cluster", folder, str(shelf), str(ports[REPLICA])]
        stack.enter_context(_running(cluster, ports[REPLICA]))
        found = {"single_ms": {name: [] for name in ports}, "texts_per_s": {n: [] for n in ports}}
        for turn in range(ROUNDS):
            for name, port in ports.items():
                found["single_ms"][name].append(_single(port, texts[turn * CALLS :][:CALLS]))
        for _ in range(3):
            for name, port in ports.items():
                found["texts_per_s"][name].append(_many(port, texts))
    for what, by_name in found.items():
        print(what, {name: round(statistics.median(v), 2) for name, v in by_name.items()})
    write_json("ray", found)


def cluster(folder: str, registry: str, port: str) -> None:
    """A Ray cluster of one replica, until its standard input closes."""
    import ray
    from ray import serve

    from tutorial_utils.serving.scale_out import ScaleSettings, application

    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=folder
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(application(ScaleSettings(registry=registry, replicas=1)), route_prefix="/")
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


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
    """Texts a second that some callers get answered who wait for each answer."""
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


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=os.environ | ONE_CORE, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 120
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"did not start: {' '.join(command[1:4])}")
            time.sleep(0.2)
        yield
    finally:
        process.stdin.close()
        if "serve" in command:
            process.terminate()
        process.wait(60)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    cluster(*sys.argv[2:]) if sys.argv[1:2] == ["cluster"] else main()
