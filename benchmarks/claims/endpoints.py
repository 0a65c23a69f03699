"""The popular recipe's endpoints, for the audit: the model inline, and exceptions sent to callers.

Not an example to follow: notebook 05 builds the service as it should be. The audit starts it with
``python -m benchmarks.claims.endpoints FILE PORT`` on loopback.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException

from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime.inference import random_inputs
from tutorial_utils.runtime.session import open_session


def create(file: Path) -> FastAPI:
    """Three routes to one model, and a health check."""
    app, session = FastAPI(), open_session(file, pipeline.recipe("int8").session)
    batch, worker = random_inputs(8, 128), ThreadPoolExecutor(1)
    session.run(None, batch)

    @app.get("/health")
    async def health() -> dict:
        return {"status": "ok"}

    @app.post("/inline")
    async def inline() -> dict:
        return {"labels": session.run(None, batch)[0].argmax(axis=1).tolist()}

    @app.post("/thread")
    async def thread() -> dict:
        loop = asyncio.get_running_loop()
        logits = await loop.run_in_executor(worker, session.run, None, batch)
        return {"labels": logits[0].argmax(axis=1).tolist()}

    @app.post("/leaking")
    async def leaking(length: int) -> dict:
        try:
            return {"labels": session.run(None, random_inputs(1, length))[0].shape}
        except Exception as error:
            raise HTTPException(500, str(error)) from error

    return app


if __name__ == "__main__":
    uvicorn.run(create(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="error")
