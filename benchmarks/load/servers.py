"""The servers of the load runs: each on one core, suspended between its turns."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import ROOT
from benchmarks.load.closed_loop import keep_busy
from benchmarks.servers import free_port, on_core, running
from tutorial_utils.lessons import pipeline

PEERS_PYTHON = ROOT / ".venv-servers" / "bin" / "python"
OURS, POPULAR, SINGLE = "ours", "popular endpoint", "one request at a time"
LITSERVE, MOSEC = "LitServe", "mosec"
PEERS = (LITSERVE, MOSEC)


@dataclass(frozen=True)
class Server:
    """A server that answers ``POST /predict``."""

    name: str
    url: str
    process: subprocess.Popen

    def pause(self) -> None:
        """Suspend it, so that its idle threads take no time from others."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)


def cores() -> tuple[int, int]:
    """The load generator's core and the server's.

    Raises:
        RuntimeError: fewer than two cores are usable.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(usable) < 2:
        raise RuntimeError(
            "The load runs need Linux and two cores: one for the generator, one for the server."
        )
    return usable[-1], usable[0]


@contextmanager
def published() -> Iterator[Path]:
    """A registry that holds the tuned classifier; yields the folder of its version."""
    with tempfile.TemporaryDirectory() as registry:
        yield pipeline.publish(Path(registry))


@contextmanager
def started(name: str, folder: Path, core: int, **settings) -> Iterator[Server]:
    """A server of the model in ``folder``, on ``core``. settings: fields of ``Settings``.

    Raises:
        NotStarted: it did not answer.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}/predict"
    with ExitStack() as stack:
        with on_core(core):  # the server inherits it; the caller returns to its own
            server = running(command(name, folder, port, settings), lambda: predicts(url))
            process = stack.enter_context(server)
        yield Server(name, url, process)


def predicts(url: str) -> bool:
    """Whether a text sent to ``url`` is answered with 200."""
    return 200 in keep_busy(url, [{"texts": ["Are you there?"]}], 1, 0.01).statuses


def command(name: str, folder: Path, port: int, settings: dict) -> list[str]:
    """The command that starts a server. folder: a version's folder in a registry."""
    if name == OURS:
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        serve = [sys.executable, "-m", "tutorial_utils", "serve", f"--port={port}"]
        return [*serve, f"--registry={folder.parents[1]}", *flags]
    if name in (POPULAR, SINGLE):
        kind = "popular" if name == POPULAR else "single"
        return _module(sys.executable, "endpoints", kind, folder, port)
    if name == LITSERVE:
        return _module(PEERS_PYTHON, "litserve_server", folder, port)
    rest = ("--port", port, "--address", "127.0.0.1", "--timeout", "30000")
    return _module(PEERS_PYTHON, "mosec_server", folder, *rest)


def versions() -> dict[str, str]:
    """Versions of the other servers and of what they run on; {} if they are not installed."""
    code = (
        "import json, importlib.metadata as m\n"
        "names = ('litserve', 'mosec', 'onnxruntime', 'tokenizers')\n"
        "print(json.dumps({n: m.version(n) for n in names}))"
    )
    if not PEERS_PYTHON.exists():
        return {}
    told = subprocess.run([PEERS_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def _module(python: Path | str, name: str, *arguments) -> list[str]:
    return [str(python), "-m", f"benchmarks.load.{name}", *map(str, arguments)]
