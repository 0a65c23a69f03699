"""What a caller asks, what comes of it, and how it can fail."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.quality import probabilities
from tutorial_utils.registry import Manifest

log = logging.getLogger(__name__)


class Overloaded(TutorialError, RuntimeError):
    """More texts wait than the service takes; try again after ``retry_after`` seconds."""

    def __init__(self, retry_after: int = 1):
        super().__init__(f"too many texts are waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class DeadlineExceeded(TutorialError, RuntimeError):
    """The answer was not there in time."""


class InferenceFailed(TutorialError, RuntimeError):
    """The model raised; the cause is in the log, not in the message."""


class Unavailable(InferenceFailed):
    """No model may be asked just now: each breaker is open, or the engine was closed."""

    retry_after = 1


@dataclass(frozen=True)
class Prediction:
    """Probabilities, float32 (texts, labels), where the milliseconds went, and who answered.

    The three times add up to the time from the door to the answer. ``manifest`` is the answering
    model's: with ``fallback``, that of another model than was asked, with labels of its own.
    """

    probabilities: np.ndarray
    queue_ms: float
    tokenize_ms: float
    inference_ms: float
    manifest: Manifest
    fallback: bool = False

    @property
    def version(self) -> str:
        return self.manifest.version


@dataclass(eq=False)
class Item:
    """One text of a request on its way through the model; ``row``: its token ids, once read."""

    request: "Request"
    text: str
    row: list[int] | None = None


class Request:
    """Texts that are answered together, by one model, or fail together.

    ``future`` resolves once: whoever comes second (a late worker, a deadline) changes nothing.
    Moments are in seconds of ``time.perf_counter``.
    """

    def __init__(self, texts: list[str], deadline: float):
        self.submitted = time.perf_counter()
        self.expires = self.submitted + deadline
        self.begun: float | None = None  # when the model first ran over one of the texts
        self.tokenize_seconds = 0.0
        self.items = [Item(self, text) for text in texts]
        self.future: Future[Prediction] = Future()
        self.backend = None  # the backend that answered what ``answers`` holds
        self.answers: dict[Item, np.ndarray] = {}

    def read(self, encode: Callable[[list[str]], list[list[int]]]) -> None:
        """Get the token ids of each text by ``encode``; fail when it raises."""
        began = time.perf_counter()
        try:
            rows = encode([item.text for item in self.items])
        except BaseException as error:  # a panic of the tokenizer's is not an Exception
            log.error("tokenizing failed: %s", type(error).__name__)
            self.fail(InferenceFailed("the tokenizer raised"))
            return
        for item, row in zip(self.items, rows, strict=True):
            item.row = row
        self.tokenize_seconds = time.perf_counter() - began

    def fail(self, error: Exception) -> None:
        """Fail, unless it is answered or was cancelled already."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def answer(self, item: Item, logits: np.ndarray) -> None:
        """Take one text's logits (labels,); the last one resolves the future."""
        self.answers[item] = logits
        if len(self.answers) < len(self.items):
            return
        manifest = self.backend.model.manifest
        rows = np.stack([self.answers[item] for item in self.items])
        prediction = Prediction(
            probabilities=probabilities(rows, manifest.task),
            queue_ms=(self.begun - self.submitted - self.tokenize_seconds) * 1e3,
            tokenize_ms=self.tokenize_seconds * 1e3,
            inference_ms=(time.perf_counter() - self.begun) * 1e3,
            manifest=manifest,
            fallback=self.backend.fallback,
        )
        with suppress(InvalidStateError):
            self.future.set_result(prediction)
