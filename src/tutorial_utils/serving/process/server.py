"""The process around the application: its signals, its connections, and its end.

uvicorn closes the listening socket as soon as it is told to stop, while a load balancer still
sends to it, and waits without a limit for what runs. Here a signal first makes ``/readyz`` say no;
for a grace period all is served on; then the door closes, and what was accepted has a limited time.
"""

import asyncio
import gc
import logging
import os
import threading
import time
from types import FrameType

import uvicorn

from tutorial_utils.serving import logs
from tutorial_utils.serving.http import app
from tutorial_utils.serving.process.connection import Connection
from tutorial_utils.serving.process.listener import refuse_newcomers, waiting
from tutorial_utils.serving.settings import Settings

log = logs.logger(__name__)
HANDSHAKE = 0.1  # seconds for a connection that has begun to be complete
LINGER = 0.3  # seconds for a connection made just before the door closed to send its request
MARGIN = 1.0  # seconds past grace and drain after which the process ends, whatever hangs
HUNG = 70  # exit code then
TICKS = 10  # of uvicorn's, a second


class Server(uvicorn.Server):
    """Serves ``application`` until a signal, then grace, drain, end.

    owner: the process is here for this server only, and ends with it even when a thread hangs.
    """

    def __init__(self, application: app.Service, config: uvicorn.Config, owner: bool = False):
        super().__init__(config)
        self.application, self.owner = application, owner
        self.settings = application.settings
        self._ends: float | None = None  # when the grace period does
        self._refused = 0  # requests that the log knows to have found no room

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
        if counter % TICKS == 0:
            self._tell_refused()
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
        self._tell_refused()
        log.info("stopped")

    def _tell_refused(self) -> None:
        """One line a second for all who found no room: in a flood, lines would add to it."""
        refused = self.application.metrics.refused
        if refused > self._refused:
            log.warning("refused", requests=refused - self._refused)
        self._refused = refused

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


def serve(settings: Settings, application: app.Service | None = None) -> None:
    """Start the server and stay until it is told to stop.

    application: what is served; made from the settings where it is not given.

    Raises:
        BadModel: the registry has no such version, or it is broken.
    """
    application = application or app.create(settings)
    logs.configure(settings.log_format)
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        loop="asyncio",  # also where another package has brought uvloop: what is tested runs
        http=Connection,
        proxy_headers=False,  # nobody asks who the caller is
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.drain,
    )
    _settle()
    Server(application, config, owner=True).run()


def _settle() -> None:
    """For a process that serves and does nothing else."""
    gc.collect()
    gc.freeze()  # what is here now stays: no later collection walks over it


def _end(state: uvicorn.server.ServerState) -> None:
    """Leave without waiting: a thread that hangs in a model cannot be stopped from outside."""
    log.error("hung: the process ends with work undone", requests=len(state.tasks))
    logging.shutdown()
    os._exit(HUNG)
