"""For every request: its id, its time, its log line, and refusals before its body is read."""

import asyncio
import time

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutorial_utils.serving import logs
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.settings import Settings

log = logs.logger(__name__)


class Observed(FastAPI):
    """Wraps the application: it sees every request and lets no exception out.

    It does so in its own call, because Starlette's ``BaseHTTPMiddleware`` runs each request in a
    further task, which costs more than everything here.
    """

    metrics: Metrics
    settings: Settings
    leaving = False  # told to stop: it still answers, but is not ready and keeps no connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await super().__call__(scope, receive, send)
        start = time.perf_counter()
        headers = Headers(scope=scope)
        name = logs.request_id(headers.get("x-request-id"))
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                marked = MutableHeaders(scope=message)
                marked["x-request-id"] = name
                marked["x-total-time"] = f"{(time.perf_counter() - start) * 1e3:.3f}"
                if self.leaving:
                    marked["connection"] = "close"
            await send(message)

        with logs.bound_contextvars(request_id=name):
            try:
                app = self._refusal(headers) or super().__call__
                await app(scope, self._in_time(receive), send_marked)
            except asyncio.CancelledError:
                if not status:
                    stopping = _error("the service is stopping", 503, close=True)
                    await stopping(scope, receive, send_marked)
                raise
            except Exception as error:  # FastAPI has answered it, as ``errors`` says
                log.error("unexpected", exc_info=error)
            finally:
                seconds = time.perf_counter() - start
                route, ms = getattr(scope.get("route"), "path", "unknown"), round(seconds * 1e3, 3)
                self.metrics.request(route, status, seconds)
                if status != 429:  # the server logs how many of these there were, once a second
                    log.info("request", method=scope["method"], route=route, status=status, ms=ms)

    def _refusal(self, headers: Headers) -> ASGIApp | None:
        """The answer to a request that is refused because of its headers."""
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            return _error("compressed bodies are not accepted: send it uncompressed", 415)
        if "inference-header-content-length" in headers:
            return _error("tensors are read from JSON only; tritonclient: binary_data=False", 415)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.settings.max_body:
            limit = f"{self.settings.max_body:,} bytes"
            return _error(f"the body is larger than {limit}", 413, close=True)
        return None

    def _in_time(self, receive: Receive) -> Receive:
        """A ``receive`` with a limit for the time of the whole body, not of each part."""
        deadline = asyncio.get_running_loop().time() + self.settings.patience
        complete = False  # then the application waits for the caller to disconnect

        async def receive_in_time() -> Message:
            nonlocal complete
            try:
                async with asyncio.timeout_at(None if complete else deadline):
                    message = await receive()
            except TimeoutError:
                # FastAPI would answer any other exception with 400.
                close = {"connection": "close"}
                raise HTTPException(408, "the request did not arrive in time", close) from None
            complete = not message.get("more_body", False)
            return message

        return receive_in_time


def _error(text: str, status: int, close: bool = False) -> JSONResponse:
    return JSONResponse({"error": text}, status, {"connection": "close"} if close else None)
