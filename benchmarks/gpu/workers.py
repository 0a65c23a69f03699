"""A process for each candidate, asked over a pipe and stopped when it takes too long."""

import multiprocessing
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.gpu.onnx_runner import Onnx
from benchmarks.gpu.torch_runner import Torch


class Failed(RuntimeError):
    """A candidate raised, died or took too long; the message holds what is known."""


class Worker:
    """One candidate in a process of its own, which starts at once and builds in the background."""

    def __init__(self, candidate: Onnx | Torch, folder: Path, config: dict, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        given = (other, candidate, folder, config, device)
        self.process = context.Process(target=serve, args=given)
        self.process.start()
        other.close()
        self.built = False

    def ask(self, method: str, *given: object, timeout: float, build: float) -> object:
        """Call a method of the candidate's runner; the first call waits until it is built.

        timeout: seconds for the answer. build: seconds for the building, where that comes first.

        Raises:
            Failed: see there; the process is gone if it died or took too long.
        """
        if not self.built:
            self.receive("building", max(timeout, build))
            self.built = True
        self.pipe.send((method, given))
        return self.receive(method, timeout)

    def receive(self, what: str, timeout: float) -> object:
        try:
            if not self.pipe.poll(max(1.0, timeout)):
                self.stop()
                raise Failed(f"{what} took more than {timeout:.0f} s.")
            good, result = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise Failed(f"The process died while {what}.") from error
        if not good:
            raise Failed(f"{what}: {result}")
        return result

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def serve(
    pipe: Connection, candidate: Onnx | Torch, folder: Path, config: dict, device: str
) -> None:
    """Build the candidate's runner and answer until the other side is gone."""
    try:
        runner = candidate.build(folder, config, device)
        pipe.send((True, None))
    except Exception:
        pipe.send((False, traceback.format_exc()[-2000:]))
        return
    while True:
        try:
            method, given = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(runner, method)(*given)))
        except Exception:
            pipe.send((False, traceback.format_exc()[-2000:]))
