"""Data of the drift benchmark: real sentences with the models' answers, and damaged models."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tutorial_utils import quality
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime import batching, inference

SHORT, REVERSED, BAD = "movies, five words", "movies, letters reversed", "movies, bad ones only"


@dataclass(frozen=True)
class Answered:
    """Texts as a monitor gets them: token ids and probabilities (n, labels); true labels."""

    rows: tuple[tuple[int, ...], ...]
    probabilities: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices) -> "Answered":
        rows = tuple(self.rows[i] for i in indices)
        return Answered(rows, self.probabilities[indices], self.truth[indices])

    @property
    def f1(self) -> float:
        return quality.evaluate(self.probabilities.argmax(axis=1), self.truth).score


def joined(*parts: Answered) -> Answered:
    """Streams one after the other."""
    return Answered(
        tuple(row for part in parts for row in part.rows),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.truth for part in parts]),
    )


def asked(file: Path, texts, truth) -> Answered:
    """Texts answered by a model file, in batches sorted by length."""
    predict = inference.onnx_predict(file, pipeline.recipe("tuned").session)
    rows = reviews.encode(texts)
    logits = batching.run(predict, rows, batching.by_tokens(list(map(len, rows)), 1024))
    return Answered(tuple(map(tuple, rows)), quality.softmax(logits), np.asarray(truth))


def held_out() -> tuple[tuple[str, ...], np.ndarray]:
    """The 2,500 movie sentences that the classifier was not trained on, and their labels."""
    parts = reviews.splits()
    labels = np.concatenate([parts.test.labels, parts.validation.labels])
    return parts.test.texts + parts.validation.texts, labels


def shifts() -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Name → texts and labels that differ from the training texts.

    Those named after movies are the held-out sentences, each of them changed.
    """
    texts, labels = held_out()
    found = {}
    for name in ("amazon", "news", "tweets"):
        domain = reviews.load(name)
        found[name] = domain.texts, domain.labels
    found[SHORT] = tuple(" ".join(text.split()[:5]) for text in texts), labels
    found[REVERSED] = tuple(text[::-1] for text in texts), labels
    return found


def flipped_bits(weights: list[onnx.TensorProto], rng: np.random.Generator, share: float) -> None:
    """Flip a bit in a share of all weights, as faulty memory or a bad disk might."""
    for tensor in weights:
        values = numpy_helper.to_array(tensor).copy()
        hit = rng.random(values.shape) < share
        bits = (1 << rng.integers(0, 8, values.shape)).astype(np.uint8)
        changed = np.where(hit, values.view(np.uint8) ^ bits, values.view(np.uint8))
        tensor.CopyFrom(numpy_helper.from_array(changed.view(np.int8), tensor.name))


def shuffled(weights: list[onnx.TensorProto], rng: np.random.Generator, layers: int) -> None:
    """Shuffle the rows of the last matrices, as a wrong conversion might."""
    for tensor in weights[-layers:]:
        values = rng.permutation(numpy_helper.to_array(tensor))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


DAMAGES: dict[str, Callable] = {
    "a bit in 1 of 100,000 weights": lambda w, rng: flipped_bits(w, rng, 1e-5),
    "a bit in 1 of 10,000 weights": lambda w, rng: flipped_bits(w, rng, 1e-4),
    "a bit in 1 of 1,000 weights": lambda w, rng: flipped_bits(w, rng, 1e-3),
    "rows of one matrix shuffled": lambda w, rng: shuffled(w, rng, 1),
    "rows of eight matrices shuffled": lambda w, rng: shuffled(w, rng, 8),
}


def damaged(source: Path, name: str, target: Path) -> Path:
    """A copy of an INT8 model with one of ``DAMAGES`` applied to the weights of its layers."""
    model = onnx.load(source)
    weights = [w for w in model.graph.initializer if w.name.endswith("_quantized")]
    assert len(weights) > 10, "no quantized weights were found"
    DAMAGES[name](weights, np.random.default_rng(0))
    onnx.save(model, target)
    return target
