"""Run a function in its own process, so that a crash of a peer does not end the benchmark."""

import multiprocessing
import signal
import traceback
from collections.abc import Callable

from tutorial_utils.core.errors import TutorialError


class Crashed(RuntimeError):
    """The process raised or was killed; the message is one line that says how."""


def in_a_process(function: Callable, *arguments):
    """What ``function(*arguments)`` returns, computed in a new process.

    Raises:
        Crashed: it raised, or a signal ended the process (an illegal instruction, for example).
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, function, arguments), daemon=False)
    process.start()
    theirs.close()
    try:
        kind, value = ours.recv()
    except EOFError:
        process.join()
        raise Crashed(ending(process.exitcode)) from None
    process.join()
    if kind == "error":
        raise Crashed(value)
    return value


def ending(code: int) -> str:
    """Describe an exit code. A negative one is the signal that ended the process."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code} before it returned a result"


def _run(pipe, function: Callable, arguments: tuple) -> None:
    try:
        pipe.send(("value", function(*arguments)))
    except TutorialError as error:
        pipe.send(("error", str(error)))  # says it all
    except Exception as error:
        lines = traceback.format_exception_only(error)
        pipe.send(("error", " ".join("".join(lines).split())[:400]))
