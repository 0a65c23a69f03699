"""Services that a lesson starts: each in a process of its own, on a core of its own, and stopped.

On two cores, a server and its load generator disturb each other. An operator of ONNX Runtime ends
when its slowest thread does, so whatever takes a part of one core delays all threads. With a core
each, the server's speed does not depend on what the generator does.
"""

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import cloudpickle
import httpx
import psutil

from tutorial_utils.core import paths
from tutorial_utils.core.errors import TutorialError

PATIENCE = 60.0  # seconds for a service to start, and later to stop
HOST = "127.0.0.1"


class NotStarted(TutorialError, RuntimeError):
    """A service ended or did not get ready; the message has the end of what it printed."""


class Service:
    """A service on this machine; ``stop`` it, or use it in a ``with``.

    url: its address. process: a ``psutil.Process``. log: the file with all that it prints.
    """

    def __init__(self, command: Sequence[str], log: Path, ready: str = "/health"):
        """Start ``command``, in which ``{port}`` stands for a free port; wait until it is ready.

        log: a file for what it prints. ready: the route that answers with 200 from then on.

        Raises:
            NotStarted: it ended before, or took too long.
        """
        port = free_port()
        self.url, self.log = f"http://{HOST}:{port}", log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as printed, on_core(0):
            self._child = subprocess.Popen(
                [part.replace("{port}", str(port)) for part in command],
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=os.environ | {"TUTORIAL_CORES": "1"},
            )
        atexit.register(self.stop)  # a lesson that fails half-way must not leave it behind
        self.process = psutil.Process(self._child.pid)
        try:
            self._wait(ready)
        except BaseException:  # an interrupted cell must not leave a process behind
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def stop(self) -> None:
        """Send SIGTERM and wait for the end. Twice is harmless."""
        self._child.terminate()
        try:
            self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -15 where SIGTERM ended it at once."""
        return self._child.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self, route: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._child.poll() is None:
            try:
                if httpx.get(self.url + route, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        printed = self.log.read_text(encoding="utf-8", errors="replace").strip()
        raise NotStarted(
            f"The service did not start. The end of what it printed:\n{printed[-800:]}"
        )


def start_app(make: Callable, log: Path) -> Service:
    """Start what ``make()`` returns, an ASGI application, under uvicorn.

    make: a function, also one from a notebook's cell: it goes to the other process by value, with
    all that it uses of the notebook.

    Raises:
        NotStarted: it failed there, or ``/health`` does not answer.
    """
    pickled = log.with_suffix(".pickle")
    with paths.replacing(pickled) as temporary:
        temporary.write_bytes(cloudpickle.dumps(make))
    return Service([sys.executable, "-m", __name__, str(pickled), "{port}"], log)


def free_port() -> int:
    """A TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@contextmanager
def on_core(number: int) -> Iterator[bool]:
    """Keep this thread, and what it starts, on one of the cores that it may use.

    Yields False, and does nothing, where there is only one core or the system cannot do it (macOS,
    Windows). number: 0 is the first, where services run; -1 the last, for who calls them.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        yield False
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number]})
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


class Memory:
    """Resident memory of a process, sampled in a thread during a ``with``.

    seconds, megabytes: one value a sample; seconds from the beginning.
    """

    def __init__(self, process: psutil.Process, every: float = 0.05):
        self.seconds: list[float] = []
        self.megabytes: list[float] = []
        self._process, self._every = process, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._began

    def _sample(self) -> None:
        while not self._over.wait(self._every):
            try:
                used = self._process.memory_info().rss / 1e6
            except psutil.Error:
                return
            if not used:  # it has ended, and nobody has asked for its exit code yet
                return
            self.seconds.append(self.now)
            self.megabytes.append(used)


if __name__ == "__main__":
    import uvicorn

    make_app = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
    uvicorn.run(make_app(), host=HOST, port=int(sys.argv[2]), log_level="warning")
