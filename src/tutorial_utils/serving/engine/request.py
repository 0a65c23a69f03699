"""A request and its answer."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from tutorial_utils.registry import Manifest
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.serving.engine.backend import Backend
from tutorial_utils.serving.engine.failures import InferenceFailed
from tutorial_utils.tasks import named

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """Probabilities, float32 (texts, labels), where the milliseconds went, and who answered.

    The three times add up to the time from admission to the answer. ``manifest`` belongs to the
    model that answered; with ``fallback``, that is a different model, with its own labels.
    truncated: positions of the texts that this model did not read to the end.
    """

    probabilities: np.ndarray
    queue_ms: float
    tokenize_ms: float
    inference_ms: float
    manifest: Manifest
    fallback: bool = False
    truncated: tuple[int, ...] = ()

    @property
    def version(self) -> str:
        return self.manifest.version


@dataclass(eq=False)
class Item:
    """One text or pair of a request; ``row``: its token ids, once that is ``tokenized``.

    cut: the model that answered read only a part of it.
    """

    request: "Request"
    text: Text
    row: list[int] = field(default_factory=list)
    cut: bool = False

    @property
    def characters(self) -> int:
        return len(self.text) if isinstance(self.text, str) else sum(map(len, self.text))


class Request:
    """Texts that are answered together by one model, or fail together.

    ``future`` resolves once. What comes later (a slow worker, a deadline) changes nothing.
    Times are in seconds of ``time.perf_counter``.
    """

    def __init__(self, texts: Sequence[Text], deadline: float):
        self.items = [Item(self, text) for text in texts]
        self.submitted = time.perf_counter()
        self.expires = self.submitted + deadline
        self.tokenized, self.tokenize_seconds = False, 0.0
        self.begun = math.inf  # when the first of its texts went into the model
        self.future: Future[Prediction] = Future()
        self.backend: Backend | None = None  # that gave ``answers``
        self.answers: dict[Item, np.ndarray] = {}

    def read(self, encode: Callable[[list[Text]], list[list[int]]]) -> None:
        """Get the token ids of each text by ``encode``; fail when it raises."""
        began = time.perf_counter()
        try:
            rows = encode([item.text for item in self.items])
        except BaseException as error:  # a panic in the tokenizer is not an Exception
            log.error("tokenizing failed: %s", type(error).__name__)
            self.fail(InferenceFailed("the tokenizer raised"))
            return
        for item, row in zip(self.items, rows, strict=True):
            item.row = row
        self.tokenized, self.tokenize_seconds = True, time.perf_counter() - began

    def fail(self, error: Exception) -> None:
        """Fail, unless the request was already answered or cancelled."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def answer(self, item: Item, logits: np.ndarray, backend: Backend) -> None:
        """Take one text's logits (labels,); the last one resolves the future.

        Answers that another backend gave before are dropped.
        """
        if self.backend is not backend:
            self.backend, self.answers = backend, {}
        self.answers[item] = logits
        if len(self.answers) < len(self.items):
            return
        manifest = backend.model.manifest
        rows = np.stack([self.answers[item] for item in self.items])
        prediction = Prediction(
            probabilities=named(manifest.task).answers(rows),
            queue_ms=(self.begun - self.submitted - self.tokenize_seconds) * 1e3,
            tokenize_ms=self.tokenize_seconds * 1e3,
            inference_ms=(time.perf_counter() - self.begun) * 1e3,
            manifest=manifest,
            fallback=backend.fallback,
            truncated=tuple(i for i, item in enumerate(self.items) if item.cut),
        )
        with suppress(InvalidStateError):
            self.future.set_result(prediction)
