"""All error bodies: each says what to fix, and none repeats a caller's text."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.registry import BadModel
from tutorial_utils.serving.engine.request import (
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    Unavailable,
)
from tutorial_utils.serving.rollout.deployment import NothingToDo, UnknownVersion


class Problem(BaseModel):
    """What is wrong, and where in the request."""

    where: str
    problem: str


class Error(BaseModel):
    """The body of every answer that is not a 2xx."""

    error: str
    problems: list[Problem] = []


class Invalid(TutorialError, ValueError):
    """A well-formed request of the Open Inference Protocol that asks for something impossible."""


# Exception → status, and the text for the caller. None: the exception's message, which we wrote.
ANSWERS: dict[type[Exception], tuple[int, str | None]] = {
    Invalid: (400, None),
    UnknownVersion: (404, None),
    BadModel: (409, None),
    NothingToDo: (409, None),
    Overloaded: (429, "too many texts are waiting; try again"),
    InferenceFailed: (500, "internal error"),
    Unavailable: (503, "no model can answer now; try again"),
    DeadlineExceeded: (504, "not answered within the deadline"),
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route, for its description in OpenAPI."""
    return {status: {"model": Error} for status in statuses}


def answer(error: Exception) -> JSONResponse:
    """The answer to an exception in ``ANSWERS``."""
    kind = next(kind for kind in type(error).__mro__ if kind in ANSWERS)
    status, text = ANSWERS[kind]
    retry_after = getattr(error, "retry_after", None)
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    return JSONResponse({"error": text or str(error)}, status, headers)


def handle(app: FastAPI) -> None:
    """Give each exception its status."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        return answer(error)

    for kind in ANSWERS:
        app.add_exception_handler(kind, known)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without values. The places are our own names: no schema here has keys made up by callers.
        problems = [
            {"where": ".".join(map(str, found["loc"])), "problem": found["msg"]}
            for found in error.errors()
        ]
        return JSONResponse({"error": "invalid request", "problems": problems}, 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
