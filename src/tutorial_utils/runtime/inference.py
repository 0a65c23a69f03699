"""Padded inputs to logits: seeded inputs, and an ONNX file as a function."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tutorial_utils.runtime.batching import INPUTS
from tutorial_utils.runtime.session import SessionRecipe, open_session


def random_inputs(
    batch: int, length: int, seed: int = 0, vocabulary: tuple[int, int] = (1_000, 30_000)
) -> dict[str, np.ndarray]:
    """Inputs without padding: seeded token ids from ``vocabulary``, int64 (batch, length)."""
    ids = np.random.default_rng(seed).integers(*vocabulary, (batch, length), dtype=np.int64)
    return dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


def cut(inputs: dict[str, np.ndarray], rows: int) -> list[dict[str, np.ndarray]]:
    """Inputs as parts of at most ``rows`` rows, in their order."""
    count = len(next(iter(inputs.values())))
    return [{k: v[i : i + rows] for k, v in inputs.items()} for i in range(0, count, rows)]


def onnx_predict(
    path: Path, recipe: SessionRecipe = SessionRecipe()
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Inputs → logits, by an ONNX file."""
    session = open_session(path, recipe)
    names = [given.name for given in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs[name] for name in names})[0]
