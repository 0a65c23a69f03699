"""Claims about serving: a model run on the event loop, and exceptions told to callers (15, 16)."""

import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import httpx
import numpy as np

from tutorial_utils import steps

INSIDE = {  # what a caller should not read of → how it shows
    "the library": "onnxruntime",
    "a node of the graph": "node_",
    "a line of source code": r"\.(cc|h|py):\d+",
}


class served:
    """Context with the popular endpoints running in a process of their own, and a client."""

    def __enter__(self) -> httpx.Client:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        script, file = Path(__file__).with_name("endpoints.py"), steps.ensure("int8", "bert-base")
        command = [sys.executable, script, file, str(port)]
        self.server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self.client.get("/health")
                return self.client
            except httpx.TransportError:
                time.sleep(0.2)
        self.__exit__()
        raise RuntimeError(
            "The endpoints did not start within a minute; start endpoints.py by hand to see why."
        )

    def __exit__(self, *_) -> None:
        self.client.close()
        self.server.terminate()
        self.server.wait(20)


def milliseconds(call) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def waiting(client: httpx.Client, route: str, requests: int = 6) -> float:
    """p95 of a health check, in milliseconds, while another caller keeps the model busy."""
    caller = threading.Thread(target=lambda: [client.post(route) for _ in range(requests)])
    caller.start()
    time.sleep(0.05)  # the first request is on its way before the first check
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
