"""A closed loop: each caller sends again when it is answered. It measures the capacity."""

import asyncio
import re
import time
from collections.abc import Sequence

from tutorial_utils.bench.load_generator import (
    Answer,
    Connections,
    Load,
    Reply,
    run_in_thread,
)


def keep_busy(url: str, bodies: Sequence[dict], callers: int, seconds: float) -> Load:
    """Let each of ``callers`` send again as soon as it is answered, for ``seconds``.

    If there are enough callers, the resulting rate is the capacity.

    Raises:
        ValueError: the address is not on this machine.
    """
    connections = Connections(url)
    requests = [connections.request(body) for body in bodies]

    async def run() -> Load:
        answers: list[Answer] = []
        start = time.perf_counter()

        async def call(number: int) -> None:
            while (sent := time.perf_counter() - start) < seconds:
                reply = await connections.ask(requests[number % len(requests)])
                answers.append(Answer(number, sent, time.perf_counter() - start, reply))
                number += callers

        await asyncio.gather(*(call(number) for number in range(callers)))
        took = time.perf_counter() - start
        await connections.close()
        return Load(len(answers) / took, took, tuple(answers), start)

    return run_in_thread(run())


def header_of(reply: Reply, name: str) -> str | None:
    """The value of a header of an answer, or None."""
    found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", reply.head, re.IGNORECASE)
    return found[1].decode() if found else None
