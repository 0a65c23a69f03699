"""Every error body is ours: it says what to mend, and repeats nothing of the caller's text."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.registry import BadModel
from tutorial_utils.serving.engine.engine import (
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    Unavailable,
)
from tutorial_utils.serving.rollout.deployment import NothingToDo, UnknownVersion

FIELDS = {
    "body", "path", "query", "header", "texts", "id", "inputs", "outputs", "name",
    "shape", "datatype", "data", "parameters", "version", "share", "shadow",
}  # fmt: skip


class Problem(BaseModel):
    """What is wrong, and where in the request."""

    where: str
    problem: str


class Error(BaseModel):
    """The body of every answer that is not a 2xx."""

    error: str
    problems: list[Problem] = []


class Invalid(TutorialError, ValueError):
    """A request of the Open Inference Protocol that is well formed, and asks for what is not."""


MEANINGS = {
    400: "Not a request that can be read",
    401: "No token, or a wrong one",
    404: "No such model or version",
    408: "The bytes of the request came too slowly",
    409: "Not possible now",
    413: "The body is too large",
    415: "The body is compressed",
    422: "A value is missing or out of its range",
    429: "Too many texts are waiting: try again after Retry-After seconds",
    500: "Internal error",
    503: "Not ready, or stopping",
    504: "Not answered within the deadline",
}


def documented(*statuses: int) -> dict:
    """``responses`` of a route, for its description in OpenAPI."""
    return {status: {"model": Error, "description": MEANINGS[status]} for status in statuses}


def problems(error: RequestValidationError) -> list[dict]:
    """Places and reasons. A key that the caller made up is not repeated, nor any value."""
    return [
        {
            "where": ".".join(
                str(part) if isinstance(part, int) or part in FIELDS else "…" for part in e["loc"]
            ),
            "problem": e["msg"],
        }
        for e in error.errors()
    ]


def overloaded(error: Overloaded) -> JSONResponse:
    """The answer to who is not let in."""
    retry = {"Retry-After": str(error.retry_after)}
    return JSONResponse({"error": "too many texts are waiting; try again"}, 429, retry)


def handle(app: FastAPI) -> None:
    """Give each exception its status."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError):
        return JSONResponse({"error": "invalid request", "problems": problems(error)}, 422)

    @app.exception_handler(Invalid)
    async def not_possible(_: Request, error: Invalid):
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(UnknownVersion)
    async def unknown(_: Request, error: UnknownVersion):
        return JSONResponse({"error": str(error)}, 404)

    @app.exception_handler(BadModel)
    @app.exception_handler(NothingToDo)
    async def conflict(_: Request, error: Exception):
        return JSONResponse({"error": str(error)}, 409)

    @app.exception_handler(Overloaded)
    async def no_room(_: Request, error: Overloaded):
        return overloaded(error)

    @app.exception_handler(DeadlineExceeded)
    async def late(_: Request, error: DeadlineExceeded):
        return JSONResponse({"error": "not answered within the deadline"}, 504)

    @app.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Unavailable):
        retry = {"Retry-After": str(error.retry_after)}
        return JSONResponse({"error": "no model can answer now; try again"}, 503, retry)

    @app.exception_handler(InferenceFailed)
    async def failed(_: Request, error: InferenceFailed):
        return JSONResponse({"error": "internal error"}, 500)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
