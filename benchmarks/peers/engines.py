"""Engines: tools that run a model, each loaded in its own process."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.peers import files, makers
from tutorial_utils.core import machine
from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime import inference, session
from tutorial_utils.runtime.session import SessionRecipe

Predict = Callable[[dict[str, np.ndarray]], np.ndarray]  # padded inputs of a batch → logits
PRODUCTS = ("FullyConnected", "MatMul")  # OpenVINO's names of layers that multiply matrices


class Engine(Protocol):
    """Runs ``classifier`` or ``bert-base``; picklable."""

    model: str

    def prepare(self) -> float:
        """Build missing files; return the size of the weights or the file in MB."""

    def predict(self) -> Predict:
        """Load the model in this process. Call ``prepare`` first."""


@dataclass(frozen=True)
class Torch:
    """PyTorch, eager or compiled for changing shapes, in fp32 or bf16."""

    model: str
    bf16: bool = False
    compiled: bool = False

    def module(self):
        """The model in its precision, not compiled."""
        import torch

        torch.set_num_threads(machine.cores())
        module = makers.load(self.model)
        return module.to(torch.bfloat16) if self.bf16 else module

    def prepare(self) -> float:
        return sum(p.numel() * p.element_size() for p in self.module().parameters()) / 1e6

    def predict(self) -> Predict:
        import torch

        module = self.module()
        if self.compiled:
            from torch._inductor import config

            config.compile_threads = 1  # its worker processes would not be suspended between turns
            module = torch.compile(module, dynamic=True)

        def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
                return module(**tensors).logits.float().numpy()

        return predict


@dataclass(frozen=True)
class Ort:
    """An ONNX file in ONNX Runtime with all its optimizations. kind: see ``files``.

    threads: of each batch; 0 is all cores, 1 leaves the other cores to concurrent batches.
    provider: see ``session.PROVIDERS``.
    """

    model: str
    kind: str
    threads: int = 0
    provider: str = "cpu"

    def prepare(self) -> float:
        """As every engine.

        Raises:
            ProviderUnavailable: the provider cannot run here. Nothing is built then.
        """
        if problem := session.provider_problem(self.provider):
            raise session.ProviderUnavailable(problem)
        return files.megabytes(files.ensure(self.kind, self.model))

    def predict(self) -> Predict:
        recipe = SessionRecipe(provider=self.provider, threads=self.threads)
        return inference.onnx_predict(files.path(self.kind, self.model), recipe)


@dataclass(frozen=True)
class OpenVino:
    """A file in OpenVINO on the CPU. kind: see ``files``.

    precision: of what is not quantized, such as ``bf16``; None leaves it to OpenVINO.
    """

    model: str
    kind: str
    precision: str | None = None

    def prepare(self) -> float:
        return files.megabytes(files.ensure(self.kind, self.model))

    def compile(self, hint: str):
        """The model compiled for ``LATENCY`` or ``THROUGHPUT``."""
        import openvino

        options = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": machine.cores()}
        if self.precision:
            options["INFERENCE_PRECISION_HINT"] = self.precision
        file = files.path(self.kind, self.model)
        return openvino.Core().compile_model(file, "CPU", options)

    def predict(self) -> Predict:
        request = self.compile("LATENCY").create_infer_request()
        return lambda inputs: request.infer(inputs)[0].copy()

    def kernels(self) -> dict[str, int]:
        """Names of the kernels that compute matrix products here → how many products each does.

        A name ends in the precision that it computes in, whatever the file's is.
        """
        compiled = self.compile("LATENCY")
        compiled.create_infer_request().infer(inference.random_inputs(1, 24))  # chooses kernels
        known = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
        products = [info for info in known if info["layerType"].value in PRODUCTS]
        return dict(Counter(info["primitiveType"].value for info in products))


@dataclass(frozen=True)
class Ours:
    """The course's own file of a step, with its recipe."""

    model: str
    step: str

    def prepare(self) -> float:
        from tutorial_utils.graph import inspection

        return inspection.megabytes(pipeline.ensure(self.step, self.model))

    def predict(self) -> Predict:
        recipe = pipeline.recipe(self.step).session
        return inference.onnx_predict(pipeline.ensure(self.step, self.model), recipe)
