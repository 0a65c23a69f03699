"""Bad requests, disconnects and a model that fails: does each request get the right answer?

``python -m benchmarks.soak.chaos REGISTRY PORT`` serves a model of that registry with injected
faults; ``storm`` sends the requests, with texts or pairs of them. The faults decide which requests
must fail: a text that contains ``MARK`` makes every run fail that it is in. Some batches raise
``MemoryError``, which must not fail any request. So any other 5xx is an error of the service, and
so is a wrong answer.
"""

import asyncio
import json
import random
import sys
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urljoin

import numpy as np

from tutorial_utils.bench import load_generator
from tutorial_utils.registry import LoadedModel
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.serving.engine import backend
from tutorial_utils.serving.http import app
from tutorial_utils.serving.process import server
from tutorial_utils.serving.settings import Settings

MARK = "~"
SHORT_OF_MEMORY = 0.05  # share of the batches
SAME = 1e-3  # allowed difference of an fp32 probability between batches
CALLERS = 24
LIMITS = {"max_waiting_texts": 48, "deadline": 30.0}  # some requests are refused, none is late
GAUGES = ("serve_waiting_texts", "serve_queue_texts", "serve_queue_tokens")


class Faulty:
    """A model that raises on ``MARK``, and sometimes on a batch of several texts."""

    def __init__(self, model: LoadedModel, seed: int = 0):
        self.manifest, self.recipe, self.form = model.manifest, model.recipe, model.form
        self.encode, self._model = model.encode, model
        text = backend.probe(model.manifest)
        with_mark, without = model.encode([marked(text), text])
        self._marked = list({*with_mark} - {*without})
        self._random = random.Random(seed)

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        if np.isin(inputs["input_ids"], self._marked).any():
            raise ValueError("an injected fault")
        if len(inputs["input_ids"]) > 1 and self._random.random() < SHORT_OF_MEMORY:
            raise MemoryError
        return self._model.logits(inputs)


def faulty_service(settings: Settings) -> app.Service:
    """The service, with faults in the model of its stable version."""
    application = app.create(settings)
    stable = application.deployment.stable.backends[0]
    stable.model = Faulty(stable.model)
    return application


def marked(text: Text) -> Text:
    """The text, or the second one of the pair, with the mark behind it."""
    return f"{text} {MARK}" if isinstance(text, str) else (text[0], f"{text[1]} {MARK}")


def is_marked(text: Text) -> bool:
    return any(MARK in part for part in text)


def storm(url: str, texts: Sequence[Text], count: int, seed: int = 0) -> Counter:
    """Send ``count`` requests, many of them bad; count how they end.

    Allowed ends: ``right``, ``refused`` (429), ``invalid`` (4xx for a bad body), ``poisoned`` (500
    for a marked text), ``left`` (the caller disconnected). Errors: ``wrong`` for a wrong answer,
    and ``unexpected STATUS``.
    """
    return load_generator.run_in_thread(_storm(url, texts, count, random.Random(seed)))


async def _storm(url: str, texts: Sequence[Text], count: int, chance: random.Random) -> Counter:
    connections = load_generator.Connections(url)
    texts = [text for text in texts if not is_marked(text)]
    alone = {text: (await _numbers(connections, [text]))[0] for text in texts}
    ends: Counter = Counter()
    numbers = iter(range(count))

    async def call() -> None:
        for _ in numbers:
            given = chance.sample(texts, chance.randint(1, 2))
            kind = chance.random()
            if kind < 0.1:
                ends[await _leave(connections, given, chance.random() * 0.02)] += 1
            elif kind < 0.2:
                ends[await _bad(connections, chance)] += 1
            else:
                sent = [*given, marked(given[0])] if kind < 0.25 else given
                reply = await connections.ask(connections.request({"texts": sent}))
                ends[_end(reply, sent, alone)] += 1

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    await connections.close()
    return ends


async def _numbers(connections: load_generator.Connections, texts: list[Text]) -> list[float]:
    return numbers(await connections.ask(connections.request({"texts": texts})))


def numbers(reply: load_generator.Reply) -> list[float]:
    """Probability of the first label, or the first number of a vector, for each text."""
    body = json.loads(reply.body)
    if "embeddings" in body:
        return [vector[0] for vector in body["embeddings"]]
    return [next(iter(answer["probabilities"].values())) for answer in body["predictions"]]


def _end(reply: load_generator.Reply, texts: Sequence[Text], alone: dict[Text, float]) -> str:
    if reply.status == 429:
        return "refused"
    if any(map(is_marked, texts)):
        return "poisoned" if reply.status == 500 else f"unexpected {reply.status}"
    if reply.status != 200:
        return f"unexpected {reply.status}"
    expected = [alone[text] for text in texts]
    return "right" if np.allclose(numbers(reply), expected, atol=SAME) else "wrong"


async def _bad(connections: load_generator.Connections, chance: random.Random) -> str:
    bodies = (b'{"texts": [', b"[1, 2", b'{"texts": "one"}', b'{"texts": [""]}', b'{"texts": [7]}')
    reply = await connections.ask(connections.request(chance.choice(bodies)))
    return "invalid" if 400 <= reply.status < 500 else f"unexpected {reply.status}"


async def _leave(connections: load_generator.Connections, texts: list[Text], seconds: float) -> str:
    """Send all or half of a request, and disconnect without waiting for the answer."""
    request = connections.request({"texts": texts})
    _, writer = await connections.connection()
    writer.write(request if seconds > 0.005 else request[: len(request) // 2])
    await asyncio.sleep(seconds)
    writer.close()
    return "left"


def gauges(url: str) -> dict[str, float]:
    """The service's own gauges of waiting texts and tokens."""
    with urllib.request.urlopen(urljoin(url, "/metrics"), timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: sum(float(line.split()[-1]) for line in lines if line.startswith(name))
        for name in GAUGES
    }


def main(registry: Path, port: int) -> None:
    settings = Settings(registry=registry, port=port, **LIMITS)
    server.serve(settings, faulty_service(settings))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
