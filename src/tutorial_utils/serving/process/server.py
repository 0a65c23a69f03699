"""The process that runs the application: its signals and its shutdown.

On a signal, uvicorn closes the listening socket at once, while a load balancer still sends to it,
and then waits for running requests without a limit. Here, ``/readyz`` fails first, and everything
is still served for a grace period. Then the listening socket closes, and accepted requests get a
limited time.
"""

import asyncio
import gc
import logging
import math
import os
import socket
import threading
import time
from types import FrameType

import uvicorn

from tutorial_utils.serving import logs
from tutorial_utils.serving.http import app
from tutorial_utils.serving.process.connection import Connection
from tutorial_utils.serving.process.listener import hold_off
from tutorial_utils.serving.settings import Settings

log = logs.logger(__name__)
HANDSHAKE = 0.1  # seconds to accept the connections that have begun
LINGER = 0.3  # seconds for the last accepted connections to send a request
MARGIN = 1.0  # seconds after the drain; then the process ends, whatever hangs
HUNG = 70  # exit code then
TICKS = 10  # of uvicorn's, a second


class Server(uvicorn.Server):
    """Serves ``application`` until a signal arrives; then grace period, drain, end.

    After a signal the process ends even if a thread hangs.
    """

    def __init__(self, application: app.Service, config: uvicorn.Config):
        super().__init__(config)
        self.application, self.settings = application, application.settings
        self._ends = math.inf  # end of the grace period, by ``time.monotonic``
        self._logged = 0  # refused requests that the log has mentioned

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: not ready, but still serving. Second: end the grace period."""
        if self.application.leaving:
            self.should_exit = True
        else:
            self.application.leaving = True
            self._ends = time.monotonic() + self.settings.grace
            limit = self.settings.grace + HANDSHAKE + LINGER + self.settings.drain + MARGIN
            end = threading.Timer(limit, _end, args=(self.server_state,))
            end.daemon = True
            end.start()

    async def on_tick(self, counter: int) -> bool:
        refused = self.application.metrics.refused
        if counter % TICKS == 0 and refused > self._logged:
            # One line for all refused requests since the last one: a line for each costs time.
            log.warning("refused", requests=refused - self._logged)
            self._logged = refused
        return await super().on_tick(counter) or time.monotonic() >= self._ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no new connections, answer the requests of the others, end within the limit."""
        self.application.leaving = True
        for server in self.servers:
            for listening in server.sockets:
                hold_off(listening)
        await asyncio.sleep(HANDSHAKE)  # the event loop accepts what has begun
        for server in self.servers:
            server.close()
        log.info("draining", requests=len(self.server_state.tasks))
        # Each answer closes its connection now. After a while the others are idle, and may be
        # closed without losing a request.
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)
        log.info("stopped")


def serve(settings: Settings, application: app.Service | None = None) -> None:
    """Run the server until it is told to stop.

    application: what is served; made from the settings if not given.

    Raises:
        BadModel: the registry has no such version, or it is broken.
    """
    logs.configure(settings.log_format)  # first: opening a version may have something to say
    application = application or app.create(settings)
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        loop="asyncio",  # which the tests run with, even if uvloop is installed
        http=Connection,
        proxy_headers=False,  # nothing here uses the caller's address
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Passed to ``asyncio.wait_for``, which takes fractions of a second.
        timeout_graceful_shutdown=settings.drain,  # type: ignore[arg-type]
    )
    gc.collect()
    gc.freeze()  # these objects live as long as the process: no later collection visits them
    Server(application, config).run()


def _end(state: uvicorn.server.ServerState) -> None:
    """End the process at once, because a thread that hangs in a model cannot be stopped."""
    log.error("hung: the process ends with work undone", requests=len(state.tasks))
    logging.shutdown()
    os._exit(HUNG)
