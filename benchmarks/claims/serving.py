"""Claims about serving: a model on the event loop, and exceptions shown to callers (15, 16)."""

import re
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import numpy as np

from benchmarks.servers import answers, free_port, running
from tutorial_utils.lessons import pipeline

INSIDE = {  # what an answer should not reveal → a pattern that finds it
    "the library": "onnxruntime",
    "a node of the graph": "node_",
    "a line of source code": r"\.(cc|h|py):\d+",
}


@contextmanager
def served() -> Iterator[httpx.Client]:
    """A client of the popular endpoints, which run in their own process."""
    port, file = free_port(), pipeline.ensure("int8", "bert-base")
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.claims.endpoints", str(file), str(port)]
    with running(command, lambda: answers(f"{url}/health")), httpx.Client(base_url=url) as client:
        client.timeout = 60
        yield client


def milliseconds(call) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def waiting(client: httpx.Client, route: str, requests: int = 6) -> float:
    """p95 of a health check, in milliseconds, while another caller keeps the model busy."""
    caller = threading.Thread(target=lambda: [client.post(route) for _ in range(requests)])
    caller.start()
    time.sleep(0.05)  # so that the first request is sent before the first check
    waits = []
    while caller.is_alive():
        waits.append(milliseconds(partial(client.get, "/health")))
        time.sleep(0.01)
    caller.join()
    return float(np.percentile(waits, 95))


def inline() -> dict:
    with served() as client:
        run = statistics.median(milliseconds(partial(client.post, "/inline")) for _ in range(5))
        waits = {f"{name} ms": waiting(client, f"/{name}") for name in ("inline", "thread")}
    return {"model ms": run} | waits


def leaking() -> dict:
    with served() as client:
        answer = client.post("/leaking", params={"length": 600})  # longer than BERT has positions
    told = [what for what, pattern in INSIDE.items() if re.search(pattern, answer.text)]
    return {"status": answer.status_code, "leaks": told, "text": answer.text[:300]}
