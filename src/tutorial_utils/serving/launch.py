"""Start the service, or another HTTP server, as a process: for lessons, tests and benchmarks."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_SECONDS = 15.0  # how long a server may take to shut down before it is killed


class ServerNotStarted(RuntimeError):
    """The process ended, or did not become ready in time."""


@dataclass(frozen=True)
class RunningServer:
    """A server that answers at ``url``, and its process."""

    process: subprocess.Popen
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(url: str) -> bool:
    """Whether the service at ``url`` takes requests, by its readiness route."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def running_service(
    registry: Path, *, port: int | None = None, patience: float = 60.0, stderr=None, **settings
) -> Iterator[RunningServer]:
    """The service over ``registry`` in a process of its own; it is stopped on leaving.

    port: a free one by default. stderr: where its log goes, as for ``Popen``; nowhere by default.
    settings: as ``Settings`` names them. They travel in the environment, where no secret is seen
    in a list of processes.

    Raises:
        ServerNotStarted: it ended, or was not ready within ``patience`` seconds.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "tutorial_utils", "serve", f"--port={port}"]
    command.append(f"--registry={registry}")
    variables = {f"SERVE_{name.upper()}": str(value) for name, value in settings.items()}
    log = subprocess.DEVNULL if stderr is None else stderr
    options = {"stdout": log, "stderr": log, "env": os.environ | variables}
    with running_process(command, port, patience=patience, **options) as server:
        yield server


@contextmanager
def running_process(
    command: Sequence[str],
    port: int,
    *,
    ready: Callable[[str], bool] = is_ready,
    patience: float = 60.0,
    **options,
) -> Iterator[RunningServer]:
    """Any HTTP server that ``command`` starts on ``port``; it is stopped on leaving.

    ready: whether the server at a URL takes requests. options: of ``Popen``.

    Raises:
        ServerNotStarted: it ended, or was not ready within ``patience`` seconds.
    """
    process = subprocess.Popen(command, **options)
    server = RunningServer(process, port)
    try:
        end = time.monotonic() + patience
        while not ready(server.url):
            if process.poll() is not None:
                raise ServerNotStarted(f"The server ended with code {process.returncode}.")
            if time.monotonic() > end:
                raise ServerNotStarted(f"The server was not ready within {patience:.0f} seconds.")
            time.sleep(0.05)
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ask a server to shut down, kill it if it does not, and kill what it leaves behind."""
    if process.poll() is not None:
        return
    children = psutil.Process(process.pid).children(recursive=True)
    if sys.platform != "win32":
        process.send_signal(signal.SIGCONT)  # a suspended process does not hear SIGTERM
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
