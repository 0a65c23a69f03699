"""Where a version will run: its provider, the precision of its files, and PyTorch beside it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx.parser

from tutorial_utils.runtime.session import (
    UNFUSED,
    ProviderUnavailable,
    SessionRecipe,
    device_failure,
    open_session,
)

_NOTHING = """<ir_version: 10, opset_import: ["" : 18]>
nothing (float[1] x) => (float[1] y) { y = Identity (x) }"""


@dataclass(frozen=True)
class Target:
    """What a version is made for.

    precision: of the smaller files, ``int8`` or ``fp16``. session: how files are opened, with the
    provider. budgets: tokens of a batch to choose from; the first is the default. device: where
    PyTorch runs, with which the files are compared. accelerated: they run on a device with memory
    of its own, which can be missing or fail. So batches are fitted to that memory, and a version
    gets a second form, fp32 for a CPU. also: sessions of other providers for the same processor,
    which are tried where they run.
    """

    precision: str
    session: SessionRecipe
    budgets: tuple[int, ...]
    device: str = "cpu"
    accelerated: bool = False
    also: tuple[SessionRecipe, ...] = ()

    @property
    def beside_cpu(self) -> bool:
        """Whether the version runs on a GPU, and PyTorch on the CPU."""
        return self.accelerated and self.device == "cpu"

    @property
    def budget(self) -> int:
        """Tokens of a batch, unless another budget turns out faster."""
        return self.budgets[0]

    @property
    def provider(self) -> str:
        """What its versions are for: the name of a target."""
        return "cuda" if self.accelerated else "cpu"

    @property
    def baseline(self) -> str:
        """What times are relative to."""
        return "PyTorch fp32" if self.device == "cpu" else "PyTorch fp16 on the GPU"

    def check(self) -> None:
        """Open a session on the provider, and run it.

        Raises:
            ProviderUnavailable: it does not run here; the message says why and what to do.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "nothing.onnx")
            onnx.save(onnx.parser.parse_model(_NOTHING), path)
            session = open_session(path, self.session)
            try:
                session.run(None, {"x": np.zeros(1, np.float32)})
            except Exception as error:  # a GPU that ONNX Runtime has no kernels for
                reason = device_failure(error) or str(error)
                raise ProviderUnavailable(f"The device cannot run anything: {reason}") from error


CPU = Target(
    "int8",
    SessionRecipe(disabled_optimizers=UNFUSED, huge_pages=True),
    (1024, 256, 512, 2048, 4096),
    also=(SessionRecipe("openvino"),),
)
# Threads have nothing to do while a GPU works, so they should not spin.
CUDA = Target(
    "fp16",
    SessionRecipe("cuda", spinning=False),
    (4096, 1024, 16_384, 65_536),
    device="cuda",
    accelerated=True,
)
TARGETS = {"cpu": CPU, "cuda": CUDA}


def torch_device(wanted: str) -> str:
    """``wanted`` if PyTorch has it here, else ``cpu``: its usual build has no CUDA."""
    import torch

    return wanted if wanted == "cpu" or torch.cuda.is_available() else "cpu"
