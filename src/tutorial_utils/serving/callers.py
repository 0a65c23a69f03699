"""Callers who hang up: their work is dropped, since nobody would read the answer."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

GONE = 499  # nginx's status for it; the caller never sees it, the metrics do
Answer = TypeVar("Answer")


async def unless_gone(request: Request, work: Coroutine[None, None, Answer]) -> Answer:
    """What ``work`` returns; it is cancelled when the caller of ``request`` hangs up.

    Raises:
        HTTPException: the caller has gone; whatever ``work`` raises, too.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise HTTPException(GONE, "the caller has gone")
    finally:
        task.cancel()
        watch.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
