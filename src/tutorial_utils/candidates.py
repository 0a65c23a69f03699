"""What the notebooks and benchmarks time: one model at one shape, or real sentences to labels.

Each candidate is built inside its own process; nothing heavy is loaded here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutorial_utils import batching, machine, reviews
from tutorial_utils.session import SessionRecipe, open_session

LABELLING_BATCH = 200  # sentences a call of the text-to-label candidates handles, by default


def random_inputs(
    batch: int, length: int, seed: int = 0, vocabulary: tuple[int, int] = (1_000, 30_000)
) -> dict[str, np.ndarray]:
    """Inputs without padding: seeded token ids from ``vocabulary``, int64 (batch, length)."""
    ids = np.random.default_rng(seed).integers(*vocabulary, (batch, length), dtype=np.int64)
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


@dataclass(frozen=True)
class Onnx:
    """An ONNX file at one input shape."""

    path: Path
    batch: int = 1
    length: int = 128
    recipe: SessionRecipe = SessionRecipe()

    @property
    def items(self) -> int:
        return self.batch

    def build(self) -> Callable[[], object]:
        session = open_session(self.path, self.recipe)
        names = {given.name for given in session.get_inputs()}
        inputs = {k: v for k, v in random_inputs(self.batch, self.length).items() if k in names}
        return lambda: session.run(None, inputs)


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
    """Real test sentences from text to label: tokenise, batch, run, argmax.

    path: an ONNX file, or None for the PyTorch classifier.
    budget: tokens of a length-sorted batch; None: one sentence at a time, padded to ``width``.
    workers: batches at the same time; more than one need a recipe with fewer threads each.
    """

    path: Path | None = None
    recipe: SessionRecipe = SessionRecipe()
    budget: int | None = None
    width: int | None = 128
    items: int = LABELLING_BATCH
    workers: int = 1

    def build(self) -> Callable[[], np.ndarray]:
        texts = reviews.splits().test.texts[: self.items]
        predict = onnx_predict(self.path, self.recipe) if self.path else torch_predict("classifier")
        given = {"budget": self.budget, "width": self.width, "workers": self.workers}
        return lambda: label(texts, predict, **given)


def label(
    texts: tuple[str, ...],
    predict: Callable[[dict[str, np.ndarray]], np.ndarray],
    *,
    budget: int | None = None,
    width: int | None = None,
    workers: int = 1,
) -> np.ndarray:
    """Labels of ``texts``, int64 (n,), in their order; batching as in ``Labelling``."""
    rows = reviews.encode(texts)
    lengths = [len(row) for row in rows]
    batches = batching.by_tokens(lengths, budget) if budget else batching.in_order(len(rows), 1)
    logits = batching.run(predict, rows, batches, None if budget else width, workers=workers)
    return logits.argmax(axis=1)


def onnx_predict(
    path: Path, recipe: SessionRecipe = SessionRecipe()
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Inputs → logits, by an ONNX file."""
    session = open_session(path, recipe)
    names = [given.name for given in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs[name] for name in names})[0]


def torch_predict(model: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Inputs → logits, by a PyTorch model: ``classifier`` or ``bert-base``."""
    import torch

    from tutorial_utils import baseline

    torch.set_num_threads(machine.cores())
    module = {"classifier": baseline.load, "bert-base": baseline.bert_base}[model]()

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            return module(**tensors).logits.numpy()

    return predict
