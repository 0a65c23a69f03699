"""A caller's connection: time limits for its bytes, and refusals before a request is read.

Beyond capacity, most requests are refused, and each refusal takes time from the admitted ones. So
if the queue is nearly full, a request to ``/predict`` is refused as soon as its head has arrived,
before the application sees it. That costs a fraction of reading a request.
"""

import asyncio
import time
from functools import lru_cache
from types import SimpleNamespace
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tutorial_utils.serving import logs
from tutorial_utils.serving.engine.failures import Overloaded
from tutorial_utils.serving.http import app, errors, schemas

LONGEST_HEAD = 65_536  # bytes
ROUTES = {route.encode(): route for route in schemas.ROUTES}
# Before the first request that is not refused. uvicorn ignores what comes after an answer.
ANSWERED = cast(
    RequestResponseCycle, SimpleNamespace(response_complete=True, message_event=asyncio.Event())
)


class Connection(HttpToolsProtocol):
    """A connection that closes if no whole head arrives in time; uvicorn would wait forever.

    The head is limited in bytes too: httptools, which costs far less than a parser in Python, has
    no such limit.
    """

    _head: int | None = None  # bytes so far of a head that is not complete

    # As in uvicorn: its transport is always of this type.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.cycle = ANSWERED
        self._service = cast(app.Service, self.config.app)
        self._quiet_since = self.loop.time()
        self._check_after(self._service.settings.patience)

    def connection_lost(self, exc: Exception | None) -> None:
        self._check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > LONGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        refusal = self._service.deployment.turn_away() if self._can_be_refused() else None
        if refusal is None:
            super().on_headers_complete()
        else:
            self._refuse(refusal)

    def on_response_complete(self) -> None:
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def _can_be_refused(self) -> bool:
        """Is this a request to the model, not pipelined, on a connection that stays open?"""
        kept = self.parser.should_keep_alive() and not self._service.leaving
        asks = self.url in ROUTES and self.parser.get_method() == b"POST"
        return asks and kept and self.cycle.response_complete and not self.expect_100_continue

    def _refuse(self, refusal: Overloaded) -> None:
        began = time.perf_counter()
        given = next((v for k, v in self.headers if k == b"x-request-id"), b"")
        name = logs.request_id(given.decode("latin-1"))
        head, body = refusal_of(refusal.retry_after)
        seconds = time.perf_counter() - began
        marks = f"x-request-id: {name}\r\nx-total-time: {seconds * 1e3:.3f}\r\n\r\n"
        dates = (b"%b: %b\r\n" % pair for pair in self.server_state.default_headers)
        self.transport.write(b"".join((head, *dates, marks.encode(), body)))
        self._service.metrics.request(ROUTES[self.url], 429, seconds)
        self._quiet_since = self.loop.time()

    def _check_after(self, seconds: float) -> None:
        # One timer for the connection, instead of two new ones for each request.
        self._check = self.loop.call_later(seconds, self._close_if_silent)

    def _close_if_silent(self) -> None:
        patience = self._service.settings.patience
        left = self._quiet_since + patience - self.loop.time()
        if not self.cycle.response_complete:
            self._check_after(patience)  # a request is being answered
        elif left > 0:
            self._check_after(left)
        elif self._head is not None:
            self.send_400_response("The head of the request did not arrive in time.")
        else:
            self.transport.close()


@lru_cache(maxsize=64)
def refusal_of(retry_after: int) -> tuple[bytes, bytes]:
    """Status, headers and body of the answer to ``Overloaded``."""
    answer = errors.answer(Overloaded(retry_after))
    headers = (b"%b: %b\r\n" % pair for pair in answer.raw_headers)
    return b"".join((b"HTTP/1.1 429 Too Many Requests\r\n", *headers)), bytes(answer.body)
