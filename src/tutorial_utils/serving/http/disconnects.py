"""Drop the work of callers who disconnect, because nobody would read the answer."""

import asyncio
from collections.abc import Awaitable

from fastapi import Request
from starlette.exceptions import HTTPException

from tutorial_utils.serving.engine.request import Prediction

GONE = 499  # nginx's status for it; the caller never sees it, but the metrics do


async def unless_gone(request: Request, work: Awaitable[Prediction]) -> Prediction:
    """What ``work`` returns; it is cancelled when the caller of ``request`` disconnects.

    Raises:
        HTTPException: the caller has disconnected; and whatever ``work`` raises.
    """

    async def disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    asked, gone = asyncio.ensure_future(work), asyncio.ensure_future(disconnect())
    try:
        await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        raise HTTPException(GONE, "the caller has disconnected")
    finally:
        asked.cancel()
        gone.cancel()
