"""All error bodies: each says what to fix, and none repeats a caller's text."""

import re
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tutorial_utils.registry import BadModel
from tutorial_utils.serving.engine import failures
from tutorial_utils.serving.http import schemas
from tutorial_utils.serving.rollout.deployment import NothingToDo, UnknownVersion

# A field's name that is repeated where the field is unknown: a plain word, no text of a caller's.
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")


class Problem(BaseModel):
    """What is wrong, and where in the request."""

    where: str
    problem: str


class Error(BaseModel):
    """The body of every answer that is not a 2xx."""

    error: str
    problems: list[Problem] = []


# Exception → status, and the text for the caller. None: the exception's message, which we wrote.
ANSWERS: dict[type[Exception], tuple[int, str | None]] = {
    UnknownVersion: (404, None),
    BadModel: (409, None),
    NothingToDo: (409, None),
    failures.WrongKind: (409, None),
    failures.Overloaded: (429, "too many texts are waiting; try again"),
    failures.InferenceFailed: (500, "internal error"),
    failures.Unavailable: (503, "no model can answer now; try again"),
    failures.DeadlineExceeded: (504, "not answered within the deadline"),
    Exception: (500, "internal error"),
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route, for its description in OpenAPI."""
    return {status: {"model": Error} for status in statuses}


def answer(error: Exception) -> JSONResponse:
    """The answer to an exception, by ``ANSWERS``."""
    kind = next(kind for kind in type(error).__mro__ if kind in ANSWERS)
    status, text = ANSWERS[kind]
    retry_after = getattr(error, "retry_after", None)
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    return JSONResponse({"error": text or str(error)}, status, headers)


async def known(_: Request, error: Exception) -> JSONResponse:
    """The answer to an exception in ``ANSWERS``."""
    return answer(error)


async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """The answer to a request that does not fit its schema, or whose body was not read as JSON.

    It repeats no values. The places are our own names, or those of unknown fields.
    """
    if isinstance(error.body, bytes):  # FastAPI reads a body only under the right content type
        return JSONResponse({"error": "send the header content-type: application/json"}, 415)
    problems = []
    for found in error.errors():
        place = [part for part in found["loc"] if part not in (schemas.TEXT, schemas.PAIR)]
        problem = found["msg"]
        if found["type"] == "extra_forbidden":
            place = place if PLAIN.fullmatch(place[-1]) else place[:-1]
            problem = "there is no such field; /docs lists all fields"
        problems.append({"where": ".".join(map(str, place)), "problem": problem})
    return JSONResponse({"error": "invalid request", "problems": problems}, 422)


async def refused(_: Request, error: HTTPException) -> JSONResponse:
    """The answer to an unknown path or method, and to what the routes refuse by a status."""
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


HANDLERS: dict[Any, Any] = {RequestValidationError: invalid, HTTPException: refused}
HANDLERS |= dict.fromkeys(ANSWERS, known)
