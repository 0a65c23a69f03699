"""Load tests in an open loop: requests are sent as planned, and latency counts from the plan.

A closed loop (send, wait, send again) slows down with the server and so never sees a queue. It
finds the capacity, and nothing else. In an open loop requests are sent at random moments of a fixed
mean rate (a Poisson process), whatever happens to the earlier ones, and each latency counts from
the moment at which the request was due.

The generator must be cheaper than the server, or it measures itself. So the bytes of requests are
made beforehand, and of an answer only the status and the length are parsed.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from tutorial_utils.core.errors import InvalidArgument

PATIENCE = 30.0  # seconds for an answer
MAX_CONNECTIONS = 300  # a request that finds none free waits, and its latency includes that
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSING = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """An answer as it came; status 0: there was none, and ``error`` is the type of what happened.

    ConnectionRefusedError: the server refused the connection, so no request was lost.
    """

    status: int
    head: bytes = b""
    body: bytes = b""
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of one request. Moments in seconds from the start of the run."""

    number: int  # of the request in the plan
    due: float
    ended: float
    reply: Reply = field(repr=False)

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def ms(self) -> float:
        """Milliseconds from the moment it was due."""
        return (self.ended - self.due) * 1e3

    @property
    def body(self) -> dict:
        """The JSON that came back; empty without an answer."""
        return json.loads(self.reply.body or b"{}")


@dataclass(frozen=True)
class Load:
    """What happened to the requests of one run."""

    rate: float  # requests a second that were due; in a closed loop, that were sent
    seconds: float
    answers: tuple[Answer, ...] = field(repr=False)  # in the order in which they ended
    began: float  # ``time.perf_counter`` at the start of the run

    @property
    def statuses(self) -> dict[int, int]:
        """HTTP status → requests; 0: no answer."""
        return dict(Counter(answer.status for answer in self.answers))

    @property
    def latencies_ms(self) -> np.ndarray:
        """Of the answers with status 200, from the moment they were due."""
        return np.array([answer.ms for answer in self.answers if answer.status == 200])

    @property
    def goodput(self) -> float:
        """Requests answered with 200, a second."""
        return len(self.latencies_ms) / self.seconds

    def percentile(self, q: float) -> float:
        """Latency in milliseconds that q percent of the good answers do not exceed."""
        latencies = self.latencies_ms
        return float(np.percentile(latencies, q)) if len(latencies) else np.nan


class Connections:
    """Keep-alive connections to one address of this machine, one for each request in flight."""

    def __init__(self, url: str):
        """Raises ValueError when the address is not on this machine."""
        parts = urlsplit(url)
        if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise InvalidArgument("Offer load to a server on this machine only (127.0.0.1).")
        self._address = parts.hostname, parts.port or 80
        self._start = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    def request(self, body: dict | bytes, caller: str = "") -> bytes:
        """A request as it goes over the wire; bytes are sent as they are. caller: its name."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"x-caller-id: {caller}\r\n" if caller else ""
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        return (self._start + head).encode() + content

    async def ask(self, request: bytes) -> Reply:
        """Send, and read the answer; status 0 when none comes within ``PATIENCE``."""
        writer = None
        async with self._slots:
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await self.connection()
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = _LENGTH.search(head)
                    body = await reader.readexactly(int(length[1])) if length else b""
            # A TimeoutError is an OSError.
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                if writer:
                    writer.close()
                return Reply(0, error=type(error).__name__)
            if length and not _CLOSING.search(head):
                self._free.append((reader, writer))
            else:
                writer.close()
        return Reply(int(head.split(maxsplit=2)[1]), head, body)

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A free connection, or a new one. Unlike ``ask``, this leaves closing it to you."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():  # the server may have closed it meanwhile
                return reader, writer
            writer.close()
        return await asyncio.open_connection(*self._address)

    async def close(self) -> None:
        """Close the free connections."""
        for _, writer in self._free:
            writer.close()
        self._free.clear()
        await asyncio.sleep(0)  # the loop closes them in its next turn


def offer(
    url: str,
    bodies: Sequence[dict],
    rate: float,
    seconds: float,
    seed: int = 0,
    callers: Sequence[str] = ("",),
) -> Load:
    """Send ``bodies`` in turn to ``url`` at ``rate`` a second for ``seconds``, and wait for all.

    callers: names of callers, which the requests carry in turn.

    Raises:
        ValueError: the address is not on this machine: load is for servers of your own.
    """
    connections = Connections(url)
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 2) + 10)
    due = np.cumsum(gaps)
    due = due[due < seconds].tolist()
    pairs = [(i % len(bodies), i % len(callers)) for i in range(len(due))]
    requests = {(b, c): connections.request(bodies[b], callers[c]) for b, c in set(pairs)}

    async def run() -> Load:
        answers: list[Answer] = []
        start = time.perf_counter()

        async def ask(i: int) -> None:
            reply = await connections.ask(requests[pairs[i]])
            answers.append(Answer(i, due[i], time.perf_counter() - start, reply))

        async with asyncio.TaskGroup() as tasks:
            # Each begins when it is due: all at once would make the first ones late.
            for i, moment in enumerate(due):
                if (ahead := start + moment - time.perf_counter()) > 0:
                    await asyncio.sleep(ahead)
                tasks.create_task(ask(i))
        took = max(seconds, time.perf_counter() - start)
        await connections.close()
        return Load(len(due) / seconds, took, tuple(answers), start)

    return run_in_thread(run())


def run_in_thread(work: Coroutine):
    """Run a coroutine in a thread; works where an event loop runs already, as in a notebook."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
