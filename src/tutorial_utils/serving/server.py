"""The process around the application: its signals, its connections, and its end.

uvicorn closes the listening socket as soon as it is told to stop, while a load balancer still
sends to it, and waits without a limit for what runs. Here a signal first makes ``/readyz`` say no;
for a grace period all is served on; then the door closes, and what was accepted has a limited time.
"""

import asyncio
import logging
import os
import threading
import time
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tutorial_utils.serving import app, logs
from tutorial_utils.serving.door import refuse_newcomers, waiting
from tutorial_utils.serving.settings import Settings

log = logs.logger(__name__)
HANDSHAKE = 0.1  # seconds for a connection that has begun to be complete
LINGER = 0.3  # seconds for a connection made just before the door closed to send its request
MARGIN = 1.0  # seconds past grace and drain after which the process ends, whatever hangs
HUNG = 70  # exit code then
LONGEST_HEAD = 65_536  # bytes


class Server(uvicorn.Server):
    """Serves ``application`` until a signal, then grace, drain, end.

    owner: the process is here for this server only, and ends with it even when a thread hangs.
    """

    def __init__(self, application: app.Service, config: uvicorn.Config, owner: bool = False):
        super().__init__(config)
        self.application, self.owner = application, owner
        self.settings = application.settings
        self._ends: float | None = None  # when the grace period does

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: not ready, serve on. Second: close the door now."""
        if self._ends is not None:
            self.should_exit = True
            return
        self._ends = time.monotonic() + self.settings.grace
        self.application.leaving = True

    async def on_tick(self, counter: int) -> bool:
        if self._ends is not None and time.monotonic() >= self._ends:
            return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets=None) -> None:
        """Close the door; answer what came through it before; end within the limit."""
        self.application.leaving = True
        if self.owner:
            limit = HANDSHAKE + LINGER + self.settings.drain + MARGIN
            end = threading.Timer(limit, _end, args=(self.server_state,))
            end.daemon = True
            end.start()
        await self._close_door()
        log.info("draining", requests=len(self.server_state.tasks))
        # Now nobody new comes in. Each answer closes its connection, so that soon only those stay
        # that send nothing, and these may be closed without losing a request.
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)
        log.info("stopped")

    async def _close_door(self) -> None:
        """Take no newcomers, and let in those whom the system has let in already."""
        doors = [listening.dup() for server in self.servers for listening in server.sockets]
        refusing = [refuse_newcomers(door) for door in doors]  # each, whatever the others say
        if all(refusing):
            await asyncio.sleep(HANDSHAKE)
        for server in self.servers:
            server.close()
        for door in doors:
            with door:
                came = waiting(door)
            for connection in came:
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class Impatient(HttpToolsProtocol):
    """A connection that sends no whole head in time is closed; uvicorn would wait for ever.

    Nor would its parser in C, which costs a fraction of the one in Python, end a head without end.
    """

    patience = 10.0
    _head: int | None = None  # bytes of a head that has begun and is not whole

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._check = self.loop.call_later(self.patience, self._close_if_silent)

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
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._check.cancel()
        self._check = self.loop.call_later(self.patience, self._close_if_silent)
        super().on_response_complete()

    def _close_if_silent(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            return  # a request is being answered
        if self._head is not None:
            self.send_400_response("The head of the request did not arrive in time.")
        else:
            self.transport.close()


def serve(settings: Settings) -> None:
    """Start the server and stay until it is told to stop.

    Raises:
        BadModel: the registry has no such version, or it is broken.
    """
    application = app.create(settings)
    logs.configure(settings.log_format)
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        loop="asyncio",  # also where another package has brought uvloop: what is tested runs
        http=type("Impatient", (Impatient,), {"patience": settings.patience}),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.drain,
    )
    Server(application, config, owner=True).run()


def _end(state: uvicorn.server.ServerState) -> None:
    """Leave without waiting: a thread that hangs in a model cannot be stopped from outside."""
    log.error("hung: the process ends with work undone", requests=len(state.tasks))
    logging.shutdown()
    os._exit(HUNG)
