"""What runs a family's checkpoint or one of its files: PyTorch, ONNX Runtime, OpenVINO.

Each is sent to a process of its own and loaded there. So nothing heavy is imported here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tutorial_utils.core import machine
from tutorial_utils.models.torch_inference import Predict, predictor
from tutorial_utils.runtime import batching, inference
from tutorial_utils.runtime.session import SessionRecipe

if TYPE_CHECKING:
    from tutorial_utils.models.classifiers import Classifier

BUDGET = 1_024  # tokens of a batch of sentences


class Engine(Protocol):
    """Runs one model; picklable."""

    def predict(self) -> Predict:
        """Load it in this process; return padded inputs → logits."""


@dataclass(frozen=True)
class Torch:
    """A checkpoint in PyTorch, in fp32 or bf16."""

    classifier: "Classifier"
    bf16: bool = False

    def predict(self) -> Predict:
        module = self.classifier.module()
        return predictor(module.bfloat16() if self.bf16 else module, self.classifier.inputs)


@dataclass(frozen=True)
class Ort:
    """An ONNX file with its session."""

    path: Path
    recipe: SessionRecipe

    def predict(self) -> Predict:
        return inference.onnx_predict(self.path, self.recipe)


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO's own file. precision: of what is not quantized; None: OpenVINO's choice."""

    path: Path
    precision: str | None = None

    def compile(self, hint: str):
        """The model compiled for ``LATENCY`` or ``THROUGHPUT``."""
        import openvino

        options = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": machine.cores()}
        if self.precision:
            options["INFERENCE_PRECISION_HINT"] = self.precision
        return openvino.Core().compile_model(self.path, "CPU", options)

    def predict(self) -> Predict:
        compiled = self.compile("LATENCY")
        names = [port.any_name for port in compiled.inputs]
        request = compiled.create_infer_request()
        return lambda inputs: request.infer({name: inputs[name] for name in names})[0].copy()


@dataclass(frozen=True)
class OpenVinoParts:
    """OpenVINO on a batch in parts of ``rows`` rows, which its queue runs at the same time."""

    engine: OpenVino
    batch: int
    length: int
    rows: int

    @property
    def items(self) -> int:
        return self.batch

    def build(self) -> Callable[[], np.ndarray]:
        from benchmarks.peers.candidates import queued

        compiled = self.engine.compile("THROUGHPUT")
        names = [port.any_name for port in compiled.inputs]
        inputs = inference.random_inputs(self.batch, self.length)
        parts = inference.cut({name: inputs[name] for name in names}, self.rows)
        return queued(compiled, parts)


def labels(engine: Engine, rows: Sequence[Sequence[int]], padding: batching.Padding) -> np.ndarray:
    """The label of each row of token ids, int64 (n,), in batches sorted by length."""
    batches = batching.by_tokens([len(row) for row in rows], BUDGET)
    logits = batching.run(engine.predict(), rows, batches, padding=padding)
    if not np.isfinite(logits).all():  # argmax would make some label of it
        raise ArithmeticError("some of its answers are NaN or infinite")
    return logits.argmax(axis=1)
