"""The servers of the load runs: each a process group on one core, stopped while it has no turn."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tutorial_utils import load, steps

HERE = Path(__file__).parent
PEERS_PYTHON = HERE.parent / ".venv-servers" / "bin" / "python"
OURS, POPULAR, SINGLE = "ours", "popular endpoint", "one request at a time"
LITSERVE, MOSEC = "LitServe", "mosec"
PEERS = (LITSERVE, MOSEC)
PATIENCE = 90  # seconds for a server to start


class NotStarted(RuntimeError):
    """A server did not answer in time; the message holds the end of what it said."""


@dataclass(frozen=True)
class Server:
    """A server that answers ``POST /predict``."""

    name: str
    url: str
    process: subprocess.Popen

    def pause(self) -> None:
        """Stop it where it stands, so that idle threads take nothing from others."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)


def cores() -> tuple[int, int]:
    """The generator's core and the server's.

    Raises:
        RuntimeError: there are not two to tell apart.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(usable) < 2:
        raise RuntimeError("The load runs need Linux and two cores: one for each end.")
    return usable[-1], usable[0]


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
def published() -> Iterator[Path]:
    """A registry that holds the tuned classifier; yields the folder of its version."""
    with tempfile.TemporaryDirectory() as registry:
        yield steps.publish(Path(registry))


@contextmanager
def started(name: str, folder: Path, core: int, **settings) -> Iterator[Server]:
    """A server of the model in ``folder``, on ``core``. settings: of ours, as ``Settings`` names.

    Raises:
        NotStarted: it did not answer.
    """
    port = free_port()
    with tempfile.TemporaryFile("w+") as said:
        with on_core(core):  # inherited by the server; who called this goes back to its own
            process = subprocess.Popen(
                command(name, folder, port, settings),
                stdout=subprocess.DEVNULL,
                stderr=said if name in PEERS else subprocess.DEVNULL,
                start_new_session=True,
            )
        server = Server(name, f"http://127.0.0.1:{port}/predict", process)
        try:
            if not answers(server):
                said.seek(0)
                raise NotStarted(f"{name} did not start: {said.read()[-300:]}")
            yield server
        finally:
            end(process)


def command(name: str, folder: Path, port: int, settings: dict) -> list[str]:
    """How a server is started. ``folder``: of a version, in a registry."""
    if name == OURS:
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        serve = [sys.executable, "-m", "tutorial_utils", "serve", f"--port={port}"]
        return [*serve, f"--registry={folder.parents[1]}", *flags]
    if name in (POPULAR, SINGLE):
        kind = "popular" if name == POPULAR else "single"
        return [sys.executable, str(HERE / "load_endpoints.py"), kind, str(folder), str(port)]
    if name == LITSERVE:
        return [str(PEERS_PYTHON), str(HERE / "load_litserve.py"), str(folder), str(port)]
    rest = ["--port", str(port), "--address", "127.0.0.1", "--timeout", "30000"]
    return [str(PEERS_PYTHON), str(HERE / "load_mosec.py"), str(folder), *rest]


def versions() -> dict[str, str]:
    """What is installed beside ours."""
    code = (
        "import json, importlib.metadata as m\n"
        "names = ('litserve', 'mosec', 'onnxruntime', 'tokenizers')\n"
        "print(json.dumps({n: m.version(n) for n in names}))"
    )
    if not PEERS_PYTHON.exists():
        return {}
    told = subprocess.run([PEERS_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def answers(server: Server) -> bool:
    """Wait until it does, or has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.process.poll() is None:
        one = load.keep_busy(server.url, [{"texts": ["Are you there?"]}], 1, 0.01)
        if 200 in one.statuses:
            return True
        time.sleep(0.2)
    return False


def end(process: subprocess.Popen) -> None:
    """Ask its group to end, then insist; children that outlive it are killed."""
    with suppress(ProcessLookupError):
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        if process.poll() is None:
            process.kill()
        process.wait(15)
