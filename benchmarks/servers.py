"""Start a server in its own process group, and always stop it."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx
import psutil

from benchmarks.common import ROOT

PATIENCE = 120.0  # seconds for a server to start


class NotStarted(RuntimeError):
    """A server did not answer in time; the message has the end of its stderr."""


def free_port() -> int:
    """A TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url: str) -> bool:
    """Whether a GET of ``url`` is answered with 200."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    command: Sequence[str], ready: Callable[[], bool], **popen
) -> Iterator[subprocess.Popen]:
    """Start a server in the repository's root, wait until it is ``ready``; stop it at the end.

    popen: further arguments of ``subprocess.Popen``.

    Raises:
        NotStarted: it exited, or was not ready within ``PATIENCE`` seconds.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            **popen,
        )
        try:
            until = time.monotonic() + PATIENCE
            while not ready():
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise NotStarted(f"{' '.join(command[1:4])} did not start: {log.read()[-300:]}")
                time.sleep(0.2)
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen) -> None:
    """Stop a server, by SIGKILL if SIGTERM is not enough; kill children that outlive it."""
    if process.stdin:  # a server that reads its stdin exits when it is closed
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    if process.poll() is None:
        process.kill()
    process.wait(20)
