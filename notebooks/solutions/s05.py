"""Solutions to the exercises of 05_serving."""

import asyncio
import math
from typing import Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field


def was_cut(tokenizer, texts):
    """A tokenizer keeps what it has cut off, as further encodings of the same text."""
    return [bool(row.overflowing) for row in tokenizer.encode_batch(texts)]


def predict_off_loop(predict):
    """Let another thread run the model: the event loop answers others meanwhile."""

    async def endpoint(body: dict):
        loop = asyncio.get_running_loop()
        return {"labels": await loop.run_in_executor(None, predict, body["texts"])}

    return endpoint


def service(predict):
    """Describe a good request, and FastAPI refuses all others. Catch no exception of the model."""
    text = Annotated[str, Field(min_length=1)]

    class Texts(BaseModel):
        texts: list[text] = Field(min_length=1, max_length=32)

    app = FastAPI()

    @app.get("/health")
    async def health():
        return {"status": "ok"}

    @app.post("/predict")
    def answer(asked: Texts):  # without async: FastAPI calls it in a thread
        return {"labels": predict(asked.texts)}

    return app


def admit(waiting, texts, limit, pace):
    """Refuse a request that does not fit into the queue as a whole."""
    if waiting + texts > limit:
        seconds = max(1, math.ceil(waiting / pace))
        told = "too many texts are waiting; try again"
        raise HTTPException(429, told, headers={"Retry-After": str(seconds)})
    return waiting + texts


def next_batch(lengths, budget, late):
    """Cut the texts, sorted by length, where a batch is full; then choose one of the batches."""
    batches = [[]]
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches[-1] and (len(batches[-1]) + 1) * lengths[i] > budget:
            batches.append([])
        batches[-1].append(i)
    return next(batch for batch in batches if 0 in batch) if late else batches[0]
