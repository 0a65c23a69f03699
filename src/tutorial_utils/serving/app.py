"""Routes, and nothing but routes: what is asked goes to the engine, what fails gets its status."""

import time
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, Field
from starlette.exceptions import HTTPException

from tutorial_utils.serving import callers, registry
from tutorial_utils.serving.engine import (
    DeadlineExceeded,
    Engine,
    InferenceFailed,
    Overloaded,
    Prediction,
    Unavailable,
)
from tutorial_utils.serving.metrics import Metrics
from tutorial_utils.serving.settings import Settings


class Answer(BaseModel):
    """One text's label with the probability of each."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Timings(BaseModel):
    """Milliseconds in each stage."""

    queue: float
    tokenize: float
    inference: float


class Predictions(BaseModel):
    """Answers in the order of the texts, and who gave them."""

    model: str
    version: str
    fallback: bool
    predictions: list[Answer]
    timings_ms: Timings


def create(settings: Settings) -> FastAPI:
    """The application over the version that the settings name.

    Raises:
        BadModel: the registry has no such version, or it is broken: a service does not start then.
    """
    model = registry.load(settings.registry, settings.model, settings.version)
    spare = settings.fallback
    fallback = registry.load(settings.registry, settings.model, spare) if spare else None
    metrics = Metrics()
    engine = Engine(model, settings, fallback, metrics)
    manifest = model.manifest

    @asynccontextmanager
    async def lifespan(_: FastAPI):
        yield
        engine.close()

    app = FastAPI(title="Sentiment", lifespan=lifespan, max_body_size=settings.max_body)
    texts_asked = _request_model(settings)

    @app.middleware("http")
    async def observe(request: Request, call_next):
        start = time.perf_counter()
        status = 500
        try:
            response = await call_next(request)
            status = response.status_code
        finally:
            route = getattr(request.scope.get("route"), "path", "unknown")
            metrics.request(route, status, time.perf_counter() - start)
        return response

    @app.post("/predict", response_model=Predictions)
    async def predict(body: texts_asked, request: Request, response: Response):
        prediction = await callers.unless_gone(request, engine.predict(body.texts))
        metrics.prediction(prediction)
        for stage in ("queue", "tokenize", "inference"):
            milliseconds = getattr(prediction, f"{stage}_ms")
            response.headers[f"x-{stage}-time"] = f"{milliseconds:.3f}"
        return _answer(prediction)

    @app.get("/livez")
    async def live():
        return {"status": "alive"}

    @app.get("/readyz")
    async def ready():
        """Asks the model a question: a dead engine is not hidden behind a live process."""
        await engine.probe()
        return {"status": "ready", "version": manifest.version}

    @app.get("/info")
    async def info():
        return registry.describe(engine.model)

    @app.get("/metrics")
    async def scrape():
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    _handle_errors(app)
    return app


def serve(settings: Settings, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Start the server and stay until it is told to stop."""
    import uvicorn

    uvicorn.run(
        create(settings), host=host, port=port, log_level="warning", timeout_graceful_shutdown=10
    )


def _request_model(settings: Settings) -> type[BaseModel]:
    text = Annotated[str, Field(max_length=settings.max_characters), AfterValidator(_readable)]

    class Texts(BaseModel):
        """Texts to label."""

        texts: Annotated[
            list[text],
            Field(min_length=1, max_length=settings.max_texts, examples=[["A joy from start."]]),
        ]

    return Texts


def _readable(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid Unicode (a lone surrogate)") from None
    return text


def _answer(prediction: Prediction) -> Predictions:
    manifest = prediction.manifest
    answers = []
    for row in prediction.probabilities.tolist():
        best = max(range(len(row)), key=row.__getitem__)
        answers.append(
            Answer(
                label=manifest.labels[best],
                probability=row[best],
                probabilities=dict(zip(manifest.labels, row, strict=True)),
            )
        )
    timings = Timings(
        queue=prediction.queue_ms,
        tokenize=prediction.tokenize_ms,
        inference=prediction.inference_ms,
    )
    return Predictions(
        model=manifest.name,
        version=manifest.version,
        fallback=prediction.fallback,
        predictions=answers,
        timings_ms=timings,
    )


def _handle_errors(app: FastAPI) -> None:
    """Every error body is ours: it says what to mend, and repeats nothing of the caller's text."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError):
        problems = [
            {"where": ".".join(map(str, e["loc"])), "problem": e["msg"]} for e in error.errors()
        ]
        return JSONResponse({"error": "invalid request", "problems": problems}, 422)

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded):
        retry = {"Retry-After": str(error.retry_after)}
        return JSONResponse({"error": "too many texts are waiting; try again"}, 429, retry)

    @app.exception_handler(DeadlineExceeded)
    async def late(_: Request, error: DeadlineExceeded):
        return JSONResponse({"error": "not answered within the deadline"}, 504)

    @app.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Unavailable):
        retry = {"Retry-After": str(error.retry_after)}
        return JSONResponse({"error": "no model can answer now; try again"}, 503, retry)

    @app.exception_handler(InferenceFailed)
    async def failed(_: Request, error: InferenceFailed):
        # Handled here, the connection lives on; what reaches the handler below closes it.
        return JSONResponse({"error": "internal error"}, 500)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception):
        return JSONResponse({"error": "internal error"}, 500)
