"""A real Prometheus with the rules of ``deploy/`` that scrapes a service of the tests."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.servers import free_port

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy" / "prometheus"
FETCHED = ROOT / ".tools" / "usr" / "bin"
INTERVAL = "250ms"  # between two scrapes, and between two evaluations of the rules


def tool(name: str) -> str:
    """Path of ``prometheus`` or ``promtool``; without them a test fails, except off Linux."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], str(FETCHED)]))
    if found is None and not sys.platform.startswith("linux"):
        pytest.skip(f"{name} is not installed")
    assert found, f"{name} is missing: `make tools` fetches it from the distribution."
    return found


@contextmanager
def watching(port: int, folder: Path):
    """Run Prometheus, which scrapes the service at ``port``; yields a client of its API."""
    shutil.copy(DEPLOY / "rules.yml", folder)
    config = (DEPLOY / "prometheus.yml").read_text()
    config, hosts = re.subn(r"127\.0\.0\.1:8000", f"127.0.0.1:{port}", config)
    config, intervals = re.subn(r"(_interval:) \S+", rf"\1 {INTERVAL}", config)
    assert (hosts, intervals) == (1, 2)
    (folder / "prometheus.yml").write_text(config)
    address = f"127.0.0.1:{free_port()}"
    flags = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    flags += [f"--web.listen-address={address}", "--log.level=warn"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([tool("prometheus"), *flags], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=10) as client:
            end = time.monotonic() + 120
            while not _ready(client):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, "Prometheus did not start"
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(60)


def ask(client: httpx.Client, expression: str) -> list[dict]:
    """The current value of an expression: series with their labels and values."""
    answer = client.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    return answer["data"]["result"]


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False
