"""The same service as a Ray Serve deployment: replicas on many machines behind one address.

Each replica is what ``serve`` starts, with its own registry, engine and micro-batcher. Ray spreads
requests over the replicas, replaces those that die, and changes their number. We don't use Ray's
own batching: it counts requests, while the engine counts tokens.

    serve run tutorial_utils.serving.ray_serve:application registry=build/registry

Nothing else in the service imports Ray. Source of the options: the documentation of Ray Serve,
"Configure Ray Serve deployments".
"""

import logging
import os

import ray
from prometheus_client import start_http_server
from pydantic import Field, SecretStr, field_validator
from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.serving import logs
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.http import app
from tutorial_utils.serving.process.server import MARGIN
from tutorial_utils.serving.settings import Settings

PORTS = 100  # replicas of one machine that can be scraped
HEALTH_PERIOD, HEALTH_TIMEOUT = 2.0, 10.0  # seconds; Ray replaces a replica after three failures

log = logging.getLogger(__name__)


class ScaleSettings(Settings):
    """The settings of ``serve``, and those of Ray, which also decides on host and port."""

    replicas: int = Field(2, ge=1, description="number of processes")
    cores: int = Field(1, ge=1, description="cores of a replica: threads of its engine")
    metrics_port: int = Field(0, ge=0, le=65_000, description="first port of /metrics; 0: none")

    @field_validator("admin_token")
    @classmethod
    def _no_admin(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None:
            raise InvalidArgument(
                "a request to /admin would reach only one of many replicas: change the registry "
                "or the settings, which all replicas follow"
            )
        return token


class BehindProxy:
    """The service behind Ray's proxy, which itself adds the request's id to each answer."""

    def __init__(self, service: app.Service):
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-request-id"]
            await send(message)

        await self.service(scope, receive, send_without_id)


class Replica:
    """One process of many. ``serve.ingress`` adds ``app``, which ``application`` builds."""

    app: BehindProxy

    async def check_health(self) -> None:
        """Ray asks this regularly, and replaces a replica that raises three times in a row.

        Raises:
            Exception: what ``Engine.probe`` raises; a worker that died or hangs is not hidden.
        """
        await self.app.service.probe()


def application(settings: ScaleSettings) -> serve.Application:
    """What ``serve run`` and ``serve deploy`` start. A config file may override the options.

    The engine counts texts and answers 429, so Ray lets through as many requests as there could be
    texts. Ray queues the rest while all replicas are full, and refuses with the same status.
    """

    def build() -> BehindProxy:
        return BehindProxy(service(settings))

    options = serve.deployment(
        name=Replica.__name__,
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": settings.cores},
        max_ongoing_requests=settings.max_waiting_texts,
        max_queued_requests=settings.max_waiting_texts,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        health_check_period_s=HEALTH_PERIOD,
        health_check_timeout_s=HEALTH_TIMEOUT,
        graceful_shutdown_wait_loop_s=max(0.1, settings.grace),
        graceful_shutdown_timeout_s=settings.grace + settings.drain + MARGIN,
    )
    return options(serve.ingress(build)(Replica)).bind()


def service(settings: ScaleSettings) -> app.Service:
    """The application of this replica, on as many cores as Ray gave it.

    Raises:
        BadModel: the registry has no such version, or it is broken: the replica does not start.
    """
    given = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    os.environ["TUTORIAL_CORES"] = str(max(1, int(given)))
    logs.configure(settings.log_format)
    made = app.create(settings)
    if settings.metrics_port:
        port = expose(made.metrics, settings.metrics_port)
        log.info("metrics on port %d", port)
    return made


def expose(metrics: Metrics, first: int) -> int:
    """Serve ``/metrics`` of this replica on the first free port from ``first`` on; return it.

    A request to the service's ``/metrics`` reaches any replica, so counters would jump.

    Raises:
        OSError: none of ``PORTS`` ports is free.
    """
    for port in range(first, first + PORTS):
        try:
            start_http_server(port, registry=metrics.registry)
            return port
        except OSError:
            continue
    raise OSError(f"No port from {first} to {first + PORTS - 1} is free: set metrics_port.")
