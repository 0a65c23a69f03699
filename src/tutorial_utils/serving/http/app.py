"""The routes. They pass what a caller asks to the running versions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Request, Response
from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

import tutorial_utils
from tutorial_utils import registry
from tutorial_utils.serving.engine.failures import WrongKind
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.http import admin, disconnects, errors, oip, schemas
from tutorial_utils.serving.http.errors import documented
from tutorial_utils.serving.http.middleware import Observed
from tutorial_utils.serving.rollout.deployment import Deployment
from tutorial_utils.serving.rollout.registry_watcher import Watcher
from tutorial_utils.serving.settings import Settings
from tutorial_utils.tasks import named


class Service(Observed):
    """The application with its versions."""

    deployment: Deployment

    async def probe(self, version: str | None = None) -> str:
        """Send a model a probe: a live process must not hide a dead engine.

        Returns the version that was asked.

        Raises:
            HTTPException: 503, the service is stopping.
            UnknownVersion: that version does not run. And what ``Engine.probe`` raises.
        """
        if self.leaving:
            raise HTTPException(503, "the service is stopping")
        engine = self.deployment.find(version)
        await engine.probe()
        return engine.version


def create(settings: Settings) -> Service:
    """The application for the versions that the settings name.

    Raises:
        BadModel: the registry has no such version, or several models and none is named, or the
            version is broken: a service does not start then.
    """

    name = settings.model or registry.only_model(settings.registry)

    def load(version: str) -> registry.LoadedModel:
        wanted = settings.registry, name, version
        return registry.load(*wanted, gpu_memory=settings.gpu_memory)

    model = load(settings.version)
    fallback = load(settings.fallback) if settings.fallback else None
    # Of every version that can replace it too, see ``Deployment.place``.
    answers_at, reads_pairs = named(model.manifest.task).route, model.manifest.reads == "pair"
    metrics = Metrics()
    deployment = Deployment(settings, model, fallback, metrics)
    watcher = Watcher(deployment)
    if settings.canary:
        candidate = load(settings.canary)
        share, shadow = settings.canary_share, settings.shadow_share
        deployment.place(candidate, share, shadow if share or shadow else 1.0, by_hand=True)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(watcher.run(settings.watch)) if settings.watch else None
        yield
        if watching:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await deployment.close()

    app = Service(
        title=name,
        version=tutorial_utils.__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        max_body_size=settings.max_body,
        exception_handlers=errors.HANDLERS,
    )
    app.deployment, app.metrics, app.settings = deployment, metrics, settings

    # With a limit of its length, pydantic also refuses a text that is not valid Unicode.
    text = Annotated[
        str,
        Field(max_length=settings.max_characters, json_schema_extra={"pattern": schemas.NOT_BLANK}),
        AfterValidator(schemas.not_blank),
    ]
    # By the kind of value, so that an error speaks of the one that was meant.
    text_or_pair = Annotated[
        Annotated[text, Tag(schemas.TEXT)] | Annotated[tuple[text, text], Tag(schemas.PAIR)],
        Discriminator(
            schemas.kind_of,
            custom_error_type="text_or_pair",
            custom_error_message="each must be a string, or a pair of strings [first, second]",
        ),
        # OpenAPI describes what this model reads; the other kind is a 409 that says so.
        WithJsonSchema(TypeAdapter(tuple[text, text] if reads_pairs else text).json_schema()),
    ]
    example = ["A joy from start.", "I liked it."] if reads_pairs else "A joy from start."
    checked_texts = Annotated[
        list[text_or_pair],
        Field(min_length=1, max_length=settings.max_texts, examples=[[example]]),
    ]

    class Texts(BaseModel, extra="forbid"):
        """The texts to answer."""

        texts: checked_texts

    async def answer(asked: Texts, request: Request, x_caller_id: schemas.Caller = None):
        """Labels with their probabilities, values, or vectors. A pair is ``[first, second]``.

        During a trial, one caller stays with one version.
        """
        if (route := request.scope["route"].path) != answers_at:
            raise WrongKind(f"this model answers at {answers_at}, not at {route}")
        work = deployment.predict(asked.texts, x_caller_id)
        prediction = await disconnects.unless_gone(request, work)
        metrics.prediction(prediction)
        # As bytes: given the object, FastAPI would validate again what was just made.
        content = schemas.answered(prediction).model_dump_json()
        headers = schemas.timing_headers(prediction)
        return Response(content, headers=headers, media_type="application/json")

    problems = documented(400, 408, 409, 413, 415, 422, 429, 500, 503, 504)
    for route, kind in schemas.ROUTES.items():
        shown = route == answers_at
        app.post(route, response_model=kind, responses=problems, include_in_schema=shown)(answer)

    @app.get("/livez")
    async def live():
        return {"status": "alive"}

    @app.get("/readyz", responses=documented(429, 500, 503, 504))
    async def ready():
        return {"status": "ready", "version": await app.probe()}

    @app.get("/info")
    async def info() -> schemas.Info:
        """The stable version, and which model answers for it now."""
        return schemas.Info.of(deployment, sorted(watcher.withdrawn, key=int))

    @app.get("/metrics", response_class=PlainTextResponse)
    async def scrape() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.include_router(oip.router(deployment, metrics, oip.Inference[checked_texts], app.probe))
    if settings.admin_token:
        token = settings.admin_token.get_secret_value()
        app.include_router(admin.router(deployment, watcher, token))
    return app
