"""One JSON line for each request, with its id and none of its text.

Lines of the libraries (uvicorn, asyncio) have the same form. We log only the type of an exception
and the places it passed, because messages may contain what a caller sent.
"""

import logging
import random
import re
import sys
import traceback

import structlog
from structlog.contextvars import bound_contextvars
from structlog.typing import ExcInfo

__all__ = ["bound_contextvars", "configure", "logger", "request_id"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes keyword arguments, on top of the standard library's logger."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def configure(form: str = "json") -> None:
    """Send all logs of this process to stderr; form: ``json``, or ``text`` for people."""
    json_renderer = structlog.processors.JSONRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars],
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_places_only),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            json_renderer if form == "json" else structlog.dev.ConsoleRenderer(colors=False),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("tutorial_utils", "uvicorn.error"):  # the latter says where it listens
        logging.getLogger(name).setLevel(logging.INFO)


def request_id(given: str | None) -> str:
    """The caller's id if it is one (letters, digits, ``. _ : -``; at most 64), or a new one."""
    # Random enough to find a line, and without a system call for each request.
    return given if given and _ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def _places_only(exc_info: ExcInfo) -> str:
    """An exception as its type and the last places it passed, without its message."""
    frames = traceback.extract_tb(exc_info[2])[-5:]
    places = [f"{frame.filename.rsplit('/')[-1]}:{frame.lineno}" for frame in frames]
    return " ".join([exc_info[0].__name__, *places])
