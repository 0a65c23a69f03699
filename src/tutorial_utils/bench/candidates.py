"""What is timed: one model at one shape or on given rows, or real sentences to labels.

Each candidate is built inside its own process, which imports this file. So nothing heavy is
imported here: PyTorch alone takes longer than most timings.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from tutorial_utils.models.labelling import label, sentences
from tutorial_utils.models.torch_inference import torch_predict
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.inference import cut, onnx_predict, random_inputs
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe

LABELLING_BATCH = 200  # sentences a call of the text-to-label candidates handles, by default
BRIEF = 64  # sentences of a call that only warms up


@dataclass(frozen=True)
class OnTexts:
    """``work`` on all ``texts``, as a call to be timed."""

    work: Callable[[tuple[str, ...]], np.ndarray]
    texts: tuple[str, ...]

    def __call__(self) -> np.ndarray:
        return self.work(self.texts)

    def brief(self) -> np.ndarray:
        """A short call that warms up the caches: see ``timer.Candidate``."""
        return self.work(self.texts[:BRIEF])


@dataclass(frozen=True)
class Onnx:
    """An ONNX file at one input shape, in parts of ``rows``, ``workers`` of them side by side.

    rows: None: all at once. More than one worker needs a recipe with fewer threads each.
    """

    path: Path
    batch: int = 1
    length: int = 128
    recipe: SessionRecipe = SessionRecipe()
    rows: int | None = None
    workers: int = 1

    @property
    def items(self) -> int:
        return self.batch

    def build(self) -> Callable[[], np.ndarray]:
        predict = onnx_predict(self.path, self.recipe)
        inputs = random_inputs(self.batch, self.length)
        if self.rows is None:
            return lambda: predict(inputs)
        parts, pool = cut(inputs, self.rows), ThreadPoolExecutor(self.workers)
        return lambda: np.concatenate(list(pool.map(predict, parts)))


class Predicts(Protocol):
    """A model that can be sent to another process and loaded there."""

    def predictor(self, device: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        """Load it; return a function from padded inputs to answers."""


@dataclass(frozen=True)
class OnRows:
    """An ONNX file or another model on rows of token ids, in batches of its recipe.

    device: of a PyTorch model; an ONNX file has its provider in the recipe.
    """

    model: Path | Predicts
    recipe: Recipe
    rows: Sequence[Sequence[int]]
    device: str = "cpu"

    @property
    def items(self) -> int:
        return len(self.rows)

    def build(self) -> Callable[[], np.ndarray]:
        """Load the model; return a function that computes all answers, one for each row."""
        if isinstance(self.model, Path):
            predict = onnx_predict(self.model, self.recipe.session)
        else:
            predict = self.model.predictor(self.device)
        batches = batching.by_tokens([len(row) for row in self.rows], self.recipe.token_budget)
        return lambda: batching.run(predict, self.rows, batches, padding=self.recipe.padding)


@dataclass(frozen=True)
class Torch:
    """The PyTorch model at one input shape. model: ``classifier`` or ``bert-base``."""

    model: str = "bert-base"
    batch: int = 1
    length: int = 128

    @property
    def items(self) -> int:
        return self.batch

    def build(self) -> Callable[[], object]:
        predict = torch_predict(self.model)
        inputs = random_inputs(self.batch, self.length)
        return lambda: predict(inputs)


@dataclass(frozen=True)
class Labelling:
    """Real sentences from text to label: tokenise, batch, run, argmax.

    path: an ONNX file, or None for the PyTorch classifier.
    sentences, items: which ones and how many, see the function ``sentences``.
    budget: tokens of a batch, sorted ``by_length``; None: one sentence at a time, padded to
        ``width``.
    workers: batches at the same time; more than one need a recipe with fewer threads each.
    """

    path: Path | None = None
    recipe: SessionRecipe = SessionRecipe()
    budget: int | None = None
    width: int | None = 128
    items: int = LABELLING_BATCH
    workers: int = 1
    sentences: str = "test"
    by_length: bool = True

    def build(self) -> Callable[[], np.ndarray]:
        work = partial(
            label, predict=self.predict(), budget=self.budget, width=self.width,
            workers=self.workers, by_length=self.by_length,
        )  # fmt: skip
        return OnTexts(work, sentences(self.sentences, self.items))

    def predict(self) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        """Inputs → logits, by the file or by PyTorch."""
        return onnx_predict(self.path, self.recipe) if self.path else torch_predict("classifier")
