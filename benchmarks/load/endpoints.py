"""Two simple endpoints to compare our service with.

``python -m benchmarks.load.endpoints popular|single FOLDER PORT`` starts one of them.

popular: as in popular recipes, it pads each text to 128 tokens and runs the model on the event
loop. single: no padding, a thread for the model, one request at a time. Neither batches requests.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.load.model import Model

WIDTH = 128


class Texts(BaseModel):
    texts: Annotated[list[str], Field(min_length=1, max_length=32)]


def popular(folder: Path) -> FastAPI:
    app, model = FastAPI(), Model(folder, WIDTH)

    @app.post("/predict")
    async def predict(body: Texts) -> dict:
        return {"predictions": model.predict(body.texts)}

    return app


def single(folder: Path) -> FastAPI:
    app, model, worker = FastAPI(), Model(folder), ThreadPoolExecutor(1)

    @app.post("/predict")
    async def predict(body: Texts) -> dict:
        loop = asyncio.get_running_loop()
        return {"predictions": await loop.run_in_executor(worker, model.predict, body.texts)}

    return app


if __name__ == "__main__":
    kind, folder, port = sys.argv[1:]
    application = {"popular": popular, "single": single}[kind](Path(folder))
    uvicorn.run(application, port=int(port), log_level="error", access_log=False)
