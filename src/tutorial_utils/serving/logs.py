"""One line a request, as JSON, with its id and none of its text; one for all that found no room.

Lines of the libraries (uvicorn, asyncio) come out in the same form. Of an exception only its type
and the places it passed are told: messages may hold what a caller sent.
"""

import logging
import random
import re
import sys
import traceback

import structlog
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict, WrappedLogger

__all__ = ["bound_contextvars", "configure", "logger", "request_id"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger of keyword arguments. It writes where the standard library's of that name does."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def configure(form: str = "json") -> None:
    """Send all logs of this process to stderr; form: ``json``, or ``text`` for people."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _places_only,
    ]
    json_renderer = structlog.processors.JSONRenderer()
    last = json_renderer if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared[:1],
            processors=[
                *shared[1:],
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tutorial_utils").setLevel(logging.INFO)


def request_id(given: str | None) -> str:
    """The caller's id if it is one (letters, digits, ``. _ : -``; at most 64), or a new one."""
    # Random enough to find a line by, and no call of the system for each request.
    return given if given and _ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def _places_only(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """An exception as its type and the places it passed, without its message."""
    record = event.get("_record")
    given = event.pop("exc_info", None) or (record.exc_info if record else None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if record:
        record.exc_info = record.exc_text = None
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["exception"] = type(error).__name__
        event["places"] = [f"{f.filename.rsplit('/')[-1]}:{f.lineno}" for f in frames[-5:]]
    return event
