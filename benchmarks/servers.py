"""How a benchmark starts a server: a process group of its own, ended whatever happens."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx

from benchmarks.common import ROOT
from tutorial_utils.serving import launch
from tutorial_utils.serving.launch import free_port

__all__ = ["NotStarted", "answers", "free_port", "on_core", "running"]

PATIENCE = 120.0  # seconds for a server to start


class NotStarted(RuntimeError):
    """A server did not answer in time; the message holds the end of what it wrote."""


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
    """Start a server from the repository's root, wait until it is ``ready``, and end it afterwards.

    popen: further arguments of ``subprocess.Popen``.

    Raises:
        NotStarted: it ended, or was not ready within ``PATIENCE`` seconds.
    """
    options = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "start_new_session": True, **popen}
    with tempfile.TemporaryFile("w+") as log:
        try:
            with launch.running_process(
                command, 0, ready=lambda _: ready(), patience=PATIENCE, stderr=log, **options
            ) as server:
                try:
                    yield server.process
                finally:
                    _prepare_to_stop(server.process)
        except launch.ServerNotStarted as error:
            log.seek(0)
            raise NotStarted(f"{' '.join(command[1:4])}: {error} {log.read()[-300:]}") from None


def _prepare_to_stop(process: subprocess.Popen) -> None:
    """Resume its group, and let a server that reads its standard input end by itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
    if process.stdin:
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
