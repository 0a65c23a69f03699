"""Exercises of 05_serving."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tutorial_utils.bench.load_generator import run_in_thread
from tutorial_utils.lessons.exercises import solutions
from tutorial_utils.lessons.exercises.core import exercise

LIMIT = 8  # tokens of a text that a model reads
SLOW = 1.0  # seconds that a model takes at most, while the loop should answer others
SECRET = "the weights are in /srv/secret, node_7"


def _tokenizer(pad: bool) -> Tokenizer:
    """Each letter is a token. It cuts at ``LIMIT`` tokens, and pads to as many, or not at all."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a"]
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_truncation(LIMIT)
    if pad:
        made.enable_padding(length=LIMIT)
    return made


def _judge_cut(answer: Callable) -> str | None:
    """Ask about texts that are short, that just fit, and that are one token too long."""
    fits, too_long = LIMIT - 2, LIMIT - 1  # beside [CLS] and [SEP]
    texts = ["a", "a " * fits, "a" * fits, "a " * too_long, "a" * too_long, ""]
    for pad in (True, False):
        told = answer(_tokenizer(pad), texts)
        if not isinstance(told, Sequence | np.ndarray) or len(told) != len(texts):
            return f"For {len(texts)} texts it gives {told!r}, not a list of as many bools."
        for text, one in zip(texts, told, strict=True):
            tokens = text.count("a") + 2
            if one != (tokens > LIMIT):
                where = f"{tokens} tokens with [CLS] and [SEP], of which {LIMIT} are kept"
                return f"It says {one!r} for {text!r}: {where}."
    return None


exercise(
    "05.was_cut",
    (),
    "After cutting, and after padding, many texts have the same length. Do not count; see what "
    "else an Encoding has: `dir(tokenizer.encode('a text'))`.",
    "The tokenizer does not throw away what it cuts off. It keeps it as further encodings.",
    "`encoding.overflowing` is a list of these. It is empty if nothing was cut off.",
    judge=_judge_cut,
)


class SlowModel:
    """A model that runs until it is let go, or ``SLOW`` seconds; it writes in capitals."""

    def __init__(self) -> None:
        self.started, self.let_go, self.waited_in_vain = threading.Event(), threading.Event(), False

    def __call__(self, texts: list[str]) -> list[str]:
        self.started.set()
        self.waited_in_vain = not self.let_go.wait(SLOW)
        return [text.upper() for text in texts]


async def _while_slow(client, model: SlowModel):
    """What comes of a request, while a health check is answered beside it, or should be."""
    asked = asyncio.create_task(client.post("/predict", json={"texts": ["dull", "a joy"]}))
    while not (model.started.is_set() or asked.done()):
        await asyncio.sleep(0.005)
    health = await client.get("/health")
    model.let_go.set()
    return await asked, health


def _with_client(app: Any, work: Callable[..., Coroutine], raises: bool = True):
    """What ``work`` gives with an HTTP client of the application, which needs no network."""
    import httpx

    async def run():
        transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await work(client)

    return run_in_thread(run())


def _judge_off_loop(answer: Callable) -> str | None:
    """Ask for the health of a real application while its model runs."""
    from fastapi import FastAPI

    model, app = SlowModel(), FastAPI()
    endpoint = answer(model)
    if not callable(endpoint):
        return f"It returns {endpoint!r}, not an endpoint, which is a function."

    async def health():
        return {"status": "ok"}

    app.get("/health")(health)
    app.post("/predict")(endpoint)
    given, _ = _with_client(app, lambda client: _while_slow(client, model))
    return _blocked(model) or _differs(given, "two texts", 200, ["DULL", "A JOY"])


def _blocked(model: SlowModel, advice: str = "") -> str | None:
    if not model.waited_in_vain:
        return None
    told = "While predict() runs, /health gets no answer: the event loop waits for the model."
    return f"{told} {advice}".rstrip()


def _differs(given, what: str, status: int, labels: list[str] | None = None) -> str | None:
    """How an answer differs from what it should be, or None."""
    if given.status_code != status:
        return f"For {what} it answers with status {given.status_code}, expected {status}."
    if labels is not None and (found := given.json()) != {"labels": labels}:
        return f"For {what} it answers {found}, expected {{'labels': {labels}}}."
    return None


exercise(
    "05.predict_off_loop",
    (),
    "The event loop is one thread. Code that computes in it holds up everything else; code that "
    "awaits something gives the others a turn. `await asyncio.to_thread(f, x)` runs f in another.",
    "Pass the function and its argument to `asyncio.to_thread`, do not call the function yourself. "
    "FastAPI does the same for an endpoint that is a plain `def`.",
    "Either write `def endpoint(body: dict)` without async, or keep async and write `labels = "
    'await asyncio.to_thread(predict, body["texts"])`. Return endpoint.',
    judge=_judge_off_loop,
)

BAD = {
    "a body without texts": b"{}",
    "a text in place of a list": b'{"texts": "just one"}',
    "no text at all": b'{"texts": []}',
    "an empty text": b'{"texts": ["fine", ""]}',
    "a number as a text": b'{"texts": [7]}',
    "33 texts": b'{"texts": [' + b'"again",' * 32 + b'"once more"]}',
    "half a JSON": b'{"texts": [',
}


def _judge_service(answer: Callable) -> str | None:
    """Send good and bad requests, let the model fail, and ask for health while it runs."""
    model = SlowModel()
    app = answer(model)
    if not callable(app):
        return f"It returns {app!r}, not a FastAPI application."

    async def tell(client) -> str | None:
        given, health = await _while_slow(client, model)
        wrong = _differs(health, "GET /health", 200) or _blocked(model, "See exercise 2.")
        wrong = wrong or _differs(given, "two texts", 200, ["DULL", "A JOY"])
        model.started.clear()
        for what, content in BAD.items():
            kind = {"content-type": "application/json"}
            refused = await client.post("/predict", content=content, headers=kind)
            wrong = wrong or _differs(refused, what, 422)
        if model.started.is_set():
            wrong = wrong or "It asks the model about a request that it refuses."
        many = await client.post("/predict", json={"texts": ["a"] * 32})
        return wrong or _differs(many, "32 texts", 200, ["A"] * 32)

    return _with_client(app, tell, raises=False) or _leaks(answer)


def _leaks(answer: Callable) -> str | None:
    """What is wrong with the answer when the model raises."""

    def fails(texts: list[str]) -> list[str]:
        raise OSError(SECRET)

    async def tell(client) -> str | None:
        given = await client.post("/predict", json={"texts": ["a joy"]})
        if SECRET in given.text:
            return f"When the model raises, the caller reads its error: {given.text[:80]}"
        return _differs(given, "a model that raises", 500)

    return _with_client(answer(fails), tell, raises=False)


exercise(
    "05.service",
    (),
    "Describe what a good body looks like, with its limits, as a pydantic model. FastAPI then "
    "refuses all others with 422. And what does FastAPI do if you catch no exception?",
    "Limits go into `Field`: `texts: list[Text] = Field(min_length=1, max_length=32)`, where "
    "`Text = Annotated[str, Field(min_length=1)]`. An exception that is not caught becomes a 500 "
    "without details.",
    'app = FastAPI(); @app.get("/health") on an async def; @app.post("/predict") on a plain def '
    'that takes `asked: Texts` and returns {"labels": predict(asked.texts)}, where Texts is a '
    "class with BaseModel as its base. Return app.",
    judge=_judge_service,
)

DOORS = ((0, 8, 10), (8, 2, 10), (8, 3, 10), (10, 1, 10), (0, 11, 10), (25, 8, 32))
PACE = 8.0  # texts a second


def _judge_admit(answer: Callable) -> str | None:
    """Put the rule behind the door of a real application, and compare what callers get."""
    for door in DOORS:
        given, wanted = (_at_the_door(rule, door) for rule in (answer, _reference_admit()))
        if given != wanted:
            waiting, texts, limit = door
            return (
                f"{waiting} of at most {limit} texts wait, and {texts} come: it {given}, expected: "
                f"{wanted}."
            )
    return None


def _at_the_door(rule: Callable, door: tuple[int, int, int]) -> str:
    from fastapi import FastAPI

    app = FastAPI()

    async def admitted() -> dict:
        return {"waiting": rule(*door, PACE)}

    app.post("/predict")(admitted)
    given = _with_client(app, lambda client: client.post("/predict"))
    if given.status_code == 200:
        return f"admits them, and {given.json()['waiting']} wait then"
    after = given.headers.get("retry-after", "none")
    return f"refuses with status {given.status_code} and Retry-After {after}"


def _reference_admit() -> Callable:
    return solutions.function("05.admit")


exercise(
    "05.admit",
    (),
    "A request is taken whole or not at all: is there room for all of its texts?",
    "There is room if waiting + texts <= limit. Otherwise raise fastapi's HTTPException. The "
    "seconds are waiting / pace, rounded up, and never 0.",
    'raise HTTPException(429, "…", headers={"Retry-After": str(max(1, math.ceil(waiting / '
    "pace)))}). A header is a string. If there is room, return waiting + texts.",
    judge=_judge_admit,
)

exercise(
    "05.next_batch",
    [
        ([12, 30, 11, 28, 13], 64, False),
        ([30, 12, 11, 28, 13], 64, True),
        ([10, 25, 26], 64, False),  # three are within the budget without padding, not with it
        ([10] * 7, 64, False),
        ([128, 5, 9], 64, False),
        ([128, 5, 9], 64, True),
        ([5, 128, 9, 60], 64, True),
    ],
    "Sort the texts by their length and cut them into batches, as in lesson 04. Which of these "
    "batches is the next one?",
    "A batch costs its number of texts times its longest text. It is full when one more text would "
    "cost more than the budget. The first batch is next; if late, the one that holds index 0.",
    "Go through sorted(range(len(lengths)), key=lengths.__getitem__). Begin a new batch when the "
    "last one has texts and (len(batch) + 1) * lengths[i] > budget. A text that is longer than the "
    "budget is then alone in its batch.",
)
