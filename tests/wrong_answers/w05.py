"""Plausible wrong answers to the exercises of 05_serving."""

import asyncio
import math
import threading
from typing import Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

Text = Annotated[str, Field(min_length=1)]


class Texts(BaseModel):
    texts: list[Text] = Field(min_length=1, max_length=32)


class AnyTexts(BaseModel):
    texts: list[str]


def _inline(predict):
    async def endpoint(body: dict):
        return {"labels": predict(body["texts"])}

    return endpoint


def _after_a_pause(predict):
    async def endpoint(body: dict):
        await asyncio.sleep(0)  # one turn for the others, before the model
        return {"labels": predict(body["texts"])}

    return endpoint


def _in_a_task(predict):
    async def work(texts):
        return predict(texts)

    async def endpoint(body: dict):
        return {"labels": await asyncio.create_task(work(body["texts"]))}  # the same thread

    return endpoint


def _joined(predict):
    async def endpoint(body: dict):
        labels = []
        thread = threading.Thread(target=lambda: labels.extend(predict(body["texts"])))
        thread.start()
        thread.join()  # the event loop waits here
        return {"labels": labels}

    return endpoint


def _not_awaited(predict):
    async def endpoint(body: dict):
        return {"labels": asyncio.get_running_loop().run_in_executor(None, predict, body["texts"])}

    return endpoint


def _service(predict, of=Texts, inline=False, health=True, leak=None):
    app = FastAPI()

    def told(texts):
        try:
            return {"labels": predict(texts)}
        except Exception as error:
            if leak is None:
                raise
            return leak(error)

    def answer(asked: of):
        return told(asked.texts)

    async def answer_inline(asked: of):
        return told(asked.texts)

    if health:
        app.get("/health")(lambda: {"status": "ok"})
    app.post("/predict")(answer_inline if inline else answer)
    return app


def _tells(error):
    raise HTTPException(500, str(error))


def _admits(waiting, texts, limit, fits, seconds=None, status=429):
    if fits:
        return waiting + texts
    raise HTTPException(status, headers=None if seconds is None else {"Retry-After": seconds})


WRONG = {
    "05.was_cut": [
        lambda t, texts: [len(r.ids) == t.truncation["max_length"] for r in t.encode_batch(texts)],
        lambda t, texts: [0 not in r.attention_mask for r in t.encode_batch(texts)],  # just fits
        lambda t, texts: [len(x.split()) > t.truncation["max_length"] - 2 for x in texts],  # words
        lambda t, texts: [len(r.ids) > t.truncation["max_length"] for r in t.encode_batch(texts)],
        lambda t, texts: [r.overflowing for r in t.encode_batch(texts)],  # no bool
    ],
    "05.predict_off_loop": [
        _inline,
        _after_a_pause,
        _in_a_task,
        _joined,
        _not_awaited,
        lambda predict: predict,  # no endpoint: its argument would be a query
    ],
    "05.service": [
        lambda predict: _service(predict, of=AnyTexts),  # no limits
        lambda predict: _service(predict, inline=True),  # blocks the event loop
        lambda predict: _service(predict, health=False),
        lambda predict: _service(predict, leak=_tells),
        lambda predict: _service(predict, leak=lambda error: {"error": "failed"}),  # with 200
    ],
    "05.admit": [
        lambda w, t, limit, pace: _admits(w, t, limit, w < limit, "1"),  # ignores the new texts
        lambda w, t, limit, pace: _admits(w, t, limit, w + t < limit, str(math.ceil(w / pace))),
        lambda w, t, limit, pace: _admits(w, t, limit, w + t <= limit),  # does not say when
        lambda w, t, limit, pace: _admits(w, t, limit, w + t <= limit, str(w // pace)),  # 0 or less
        lambda w, t, limit, pace: _admits(w, t, limit, w + t <= limit, "1", 503),
        lambda w, t, limit, pace: 429 if w + t > limit else w + t,  # an answer with status 200
    ],
    "05.next_batch": [
        lambda lengths, budget, late: list(range(budget // max(lengths))),  # in order of arrival
        lambda lengths, budget, late: _sorted(lengths, budget, late, padded=False),
        lambda lengths, budget, late: _sorted(lengths, budget, False),  # starves long texts
        lambda lengths, budget, late: _sorted(lengths, budget, True),  # always the oldest
        lambda lengths, budget, late: _sorted(lengths, budget, late)[:4],  # at most four texts
    ],
}  # fmt: skip


def _sorted(lengths, budget, late, padded=True):
    batches = [[]]
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = [lengths[j] for j in batches[-1]]
        cost = (len(last) + 1) * lengths[i] if padded else sum(last) + lengths[i]
        if last and cost > budget:
            batches.append([])
        batches[-1].append(i)
    return next(batch for batch in batches if 0 in batch) if late else batches[0]
