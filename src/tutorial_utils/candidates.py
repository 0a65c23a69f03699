"""What the notebooks and benchmarks time: one model at one shape, or real sentences to labels.

Each candidate is built inside its own process; nothing heavy is loaded here.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutorial_utils import batching, machine, reviews, scoped
from tutorial_utils.session import SessionRecipe, open_session

LABELLING_BATCH = 200  # sentences a call of the text-to-label candidates handles, by default
BRIEF = 64  # sentences of a call that only warms up
WINDOW = 2_000  # sentences sorted together: more saves little padding, and costs memory


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


def cut(inputs: dict[str, np.ndarray], rows: int) -> list[dict[str, np.ndarray]]:
    """Inputs as parts of at most ``rows`` rows, in their order."""
    count = len(next(iter(inputs.values())))
    return [{k: v[i : i + rows] for k, v in inputs.items()} for i in range(0, count, rows)]


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
class Bulk(Onnx):
    """An ONNX file at one input shape, ``rows`` at a time, ``workers`` such parts side by side.

    More than one worker needs a recipe with fewer threads each.
    """

    rows: int = 1
    workers: int = 1

    def build(self) -> Callable[[], np.ndarray]:
        predict = onnx_predict(self.path, self.recipe)
        parts = cut(random_inputs(self.batch, self.length), self.rows)
        pool = ThreadPoolExecutor(self.workers)
        return lambda: np.concatenate(list(pool.map(predict, parts)))


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
        texts = sentences(self.sentences, self.items)
        predict = self.predict()
        names = ("budget", "width", "workers", "by_length")
        given = {name: getattr(self, name) for name in names}
        return on_texts(lambda some: label(some, predict, **given), texts)

    def predict(self) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        """Inputs → logits, by the file or by PyTorch."""
        return onnx_predict(self.path, self.recipe) if self.path else torch_predict("classifier")


def on_texts(
    work: Callable[[tuple[str, ...]], np.ndarray], texts: tuple[str, ...]
) -> Callable[[], np.ndarray]:
    """``work`` on all texts as a call to be timed, whose ``brief`` form handles a few."""

    def call() -> np.ndarray:
        return work(texts)

    call.brief = lambda: work(texts[:BRIEF])
    return call


def sentences(which: str, count: int) -> tuple[str, ...]:
    """``count`` movie sentences: of the ``test`` part, or of ``all`` in a fixed random order.

    Beyond their number they come again from the first.
    """
    texts = reviews.splits().test.texts if which == "test" else _shuffled()
    return tuple(itertools.islice(itertools.cycle(texts), count))


def _shuffled() -> tuple[str, ...]:
    texts = reviews.load("movies").texts
    return tuple(texts[i] for i in np.random.default_rng(0).permutation(len(texts)))


def label(
    texts: tuple[str, ...],
    predict: Callable[[dict[str, np.ndarray]], np.ndarray],
    *,
    budget: int | None = None,
    width: int | None = None,
    workers: int = 1,
    by_length: bool = True,
) -> np.ndarray:
    """Labels of ``texts``, int64 (n,), in their order; batching as in ``Labelling``.

    A window of texts is tokenised and sorted at a time, so memory does not grow with their number.
    """

    def label_some(some: tuple[str, ...]) -> np.ndarray:  # its rows end before the next begin
        rows = reviews.encode(some)
        lengths = [len(row) for row in rows]
        batches = (
            batching.by_tokens(lengths, budget, by_length=by_length)
            if budget
            else batching.in_order(len(rows), 1)
        )
        logits = batching.run(predict, rows, batches, None if budget else width, workers=workers)
        return logits.argmax(axis=1)

    labels = [label_some(texts[window]) for window in windows(len(texts))]
    return np.concatenate(labels) if labels else np.empty(0, dtype=np.int64)


def windows(count: int) -> list[slice]:
    """Which of ``count`` texts ``label`` sorts together."""
    return [slice(start, min(start + WINDOW, count)) for start in range(0, count, WINDOW)]


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

    module = {"classifier": baseline.load, "bert-base": baseline.bert_base}[model]()

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with scoped.torch_threads(machine.cores()), torch.inference_mode():
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            return module(**tensors).logits.numpy()

    return predict
