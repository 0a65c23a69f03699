"""Callers who disconnect: their work is dropped, because nobody would read the answer."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

GONE = 499  # nginx's status for it; the caller never sees it, but the metrics do
Answer = TypeVar("Answer")


async def unless_gone(request: Request, work: Awaitable[Answer]) -> Answer:
    """What ``work`` returns; it is cancelled when the caller of ``request`` disconnects.

    Raises:
        HTTPException: the caller has disconnected; and whatever ``work`` raises.
    """
    task, gone = asyncio.current_task(), False
    assert task is not None  # a coroutine runs in a task

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = task.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:  # cancelled by ``watch`` only, not by a shutdown too
            raise HTTPException(GONE, "the caller has disconnected") from None
        raise
    finally:
        watching.cancel()
