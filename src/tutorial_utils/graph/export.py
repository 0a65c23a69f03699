"""PyTorch to ONNX with the current exporter, and the proof that both compute the same function."""

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tutorial_utils.core import scoped
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.graph import storage
from tutorial_utils.runtime import batching, inference
from tutorial_utils.runtime.batching import INPUTS, Padding

OPSET = 18
SHAPES = ((1, 2), (1, 24), (1, 128), (3, 17), (8, 64))  # (batch, sequence) that parity tries


class ParityError(TutorialError, ValueError):
    """Two models cannot be compared: an answer is not finite, or the shapes differ."""


@dataclass(frozen=True)
class Difference:
    """Largest difference of the outputs at one input shape."""

    batch: int
    sequence: int
    padded_rows: int
    maximum: float  # max |a - b|


@dataclass(frozen=True)
class Parity:
    """Differences at several shapes; the worst of them decides."""

    differences: tuple[Difference, ...]

    @property
    def maximum(self) -> float:
        return max(difference.maximum for difference in self.differences)

    def within(self, tolerance: float) -> bool:
        """Whether no logit differs by more than ``tolerance``."""
        return self.maximum <= tolerance


def example_inputs(batch: int = 2, sequence: int = 16) -> dict[str, torch.Tensor]:
    """Inputs to trace with, int64 (batch, sequence). Neither size may be 1: see ``export``."""
    return {
        name: torch.from_numpy(value)
        for name, value in inference.random_inputs(batch, sequence).items()
    }


def export(
    model: torch.nn.Module,
    target: Path,
    opset: int = OPSET,
    inputs: dict[str, torch.Tensor] | None = None,
    output: str = "logits",
    attention: str | None = None,
) -> Path:
    """Export a model with dynamic batch and sequence; return ``target``.

    inputs: what the model takes, as an example to trace with; BERT's three inputs by default. The
    example has no dimension of size 1, which ``torch.export`` would take for a constant. output:
    name of the model's only output in the file. Large weights are beside the file, see ``storage``.
    attention: transformers' implementation to export, such as ``eager``, whose graph has none of
    the ``IsNaN`` and ``Where`` that other tools' fusions do not know; None: the one it runs with.
    """
    from onnxscript.optimizer import fold_constants  # torch.onnx.export is written with onnxscript

    inputs = inputs or example_inputs()
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    with (
        warnings.catch_warnings(),
        quiet_exporter(),
        _with_attention(model, attention),
        storage.replacing(target) as temporary,
    ):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            (),
            kwargs=inputs,
            input_names=list(inputs),
            dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in inputs},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        assert program  # it is None for the old exporter only
        for value in (value for node in program.model.graph for value in node.outputs):
            if value.name == output:  # the exporter calls a look-up `embedding`
                value.name = f"{output}_inside"
        program.model.graph.outputs[0].name = output
        # Weights that layers share are still turned around at each run, and so in no file in INT8.
        fold_constants(program.model, should_fold=lambda n: n.op_type == "Transpose" or None)
        program.save(temporary, external_data=storage.is_large(weights))
    return Path(target)


@contextmanager
def _with_attention(model: torch.nn.Module, name: str | None) -> Iterator[None]:
    """Transformers models inside ``model`` compute attention that way meanwhile."""
    from transformers import PreTrainedModel

    found = [m for m in model.modules() if isinstance(m, PreTrainedModel)]
    before = [one.config._attn_implementation for one in found]
    for one, implementation in zip(found, before, strict=True):
        one.set_attn_implementation(name or implementation)
    try:
        yield
    finally:
        for one, implementation in zip(found, before, strict=True):
            one.set_attn_implementation(implementation)


def quiet_exporter() -> AbstractContextManager[None]:
    """Context in which ``torch.onnx`` says nothing below an error (it lists missing extras)."""
    return scoped.log_level("torch.onnx", logging.ERROR)


def parity(
    reference: torch.nn.Module | Path,
    candidate: torch.nn.Module | Path,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    padding: Padding = Padding(),
) -> Parity:
    """Run both models on the same inputs at several shapes; all rows but the first are padded.

    padding: the token that fills rows up, and the side it goes to.

    Raises:
        ParityError: an answer is NaN or infinite, or the two shapes of the logits differ.
    """
    predict, predict_other = _predictor(reference), _predictor(candidate)
    generator = np.random.default_rng(0)
    differences = []
    for batch, sequence in shapes:
        ids = inference.random_inputs(batch, sequence)["input_ids"]
        lengths = generator.integers(1, sequence, batch, endpoint=True)
        lengths[0] = sequence
        rows = [row[:length] for row, length in zip(ids, lengths, strict=True)]
        inputs = batching.pad(rows, sequence, padding)
        a, b = predict(inputs), predict_other(inputs)
        if a.shape != b.shape:
            raise ParityError(f"The logits have shapes {a.shape} and {b.shape}.")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ParityError(
                f"Not every logit is finite at batch {batch}, sequence {sequence}. Look for "
                "a row whose mask is all zeros, a division by zero, or fp16 overflow."
            )
        padded = int((lengths < sequence).sum())
        differences.append(Difference(batch, sequence, padded, float(np.abs(a - b).max())))
    return Parity(tuple(differences))


def _predictor(model: torch.nn.Module | Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    if not isinstance(model, torch.nn.Module):
        return inference.onnx_predict(Path(model))

    parameters = inspect.signature(model.forward).parameters
    takes = [name for name in INPUTS if name in parameters] or INPUTS

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            (found,) = model(**{k: torch.from_numpy(inputs[k]) for k in takes}).values()
            return found.numpy()

    return predict
