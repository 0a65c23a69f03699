"""A graph on ONNX Runtime's CUDA provider; without a GPU on the CPU, by the same code."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.gpu import weights
from benchmarks.gpu.runner import Runner, Shape

# Bits of the CUDA provider's option sdpa_kernel.
FLASH, EFFICIENT, UNFUSED = "1", "2", "16"


@dataclass(frozen=True)
class Onnx:
    """A graph in ONNX Runtime.

    graph: name of the file without suffix. cuda_graph: ``session``, captured by the session;
    ``outside``, captured by PyTorch around a run; or None. bound: inputs and outputs stay on the
    device (I/O binding). options: of the CUDA provider. entries: of the session's configuration.
    """

    graph: str = "fused_fp16"
    cuda_graph: str | None = "session"
    bound: bool = True
    options: dict = field(default_factory=dict)
    entries: dict = field(default_factory=dict)

    @property
    def takes_mask(self) -> bool:
        return self.graph.startswith(("masked", "plain", "cls_masked"))

    @property
    def one_position(self) -> bool:
        """Whether the last hidden state is computed for the first position alone."""
        return self.graph.startswith("cls")

    def build(self, folder: Path, config: dict, device: str) -> "OnnxRunner":
        return OnnxRunner(self, folder, config, device)


def cuda_libraries() -> str | None:
    """Folder of cuBLAS as NVIDIA's wheels install it; None where there is none."""
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else ()
    found = [path.parent for root in roots for path in Path(root).glob("*/lib/libcublas.so.*")]
    return str(found[0]) if found else None


class OnnxRunner(Runner):
    """A session on a graph whose weights were drawn here."""

    integers = np.int32

    def __init__(self, candidate: Onnx, folder: Path, config: dict, device: str) -> None:
        import onnxruntime as ort
        import torch

        super().__init__(config, device)
        self.candidate, self.ort, self.torch = candidate, ort, torch
        cuda = device == "cuda"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1 if cuda else 2
        for key, value in candidate.entries.items():
            options.add_session_config_entry(key, value)
        settings, self.capturing = dict(candidate.options), None
        providers = ["CPUExecutionProvider"]
        if cuda:
            ort.preload_dlls(directory=cuda_libraries())
            if candidate.cuda_graph == "session":
                settings["enable_cuda_graph"] = "1"
            if candidate.cuda_graph == "outside":
                self.capturing = torch.cuda.Stream()
                settings["user_compute_stream"] = str(self.capturing.cuda_stream)
            providers = [("CUDAExecutionProvider", settings)]
        model = weights.fill(folder / f"{candidate.graph}.onnx").SerializeToString()
        self.session = ort.InferenceSession(model, options, providers=providers)
        if cuda and self.session.get_providers()[0] != "CUDAExecutionProvider":
            raise RuntimeError("ONNX Runtime's CUDA provider could not be loaded.")
        self.names = [value.name for value in self.session.get_inputs()]
        if self.session.get_inputs()[0].type == "tensor(int64)":
            self.integers = np.int64
        self.half = self.session.get_outputs()[0].type == "tensor(float16)"

    def about(self) -> dict[str, str]:
        return {"onnxruntime": self.ort.__version__, "providers": self.session.get_providers()[0]}

    @property
    def uses_graph(self) -> bool:
        return self.device == "cuda" and self.candidate.cuda_graph is not None

    def feeds(self, arrays: tuple) -> dict[str, np.ndarray]:
        named = dict(zip(("input_ids", "token_type_ids", "attention_mask"), arrays, strict=True))
        return {name: named[name] for name in self.names}

    def at(self, shape: Shape) -> SimpleNamespace:
        """Buffers on the device, their binding and the way to run it, made once for a shape."""
        if shape not in self.shapes:
            value, binding = self.ort.OrtValue, self.session.io_binding()
            feeds = self.feeds(self.arrays(shape, seed=0))
            given = {n: value.ortvalue_from_numpy(a, self.device, 0) for n, a in feeds.items()}
            positions = 1 if self.candidate.one_position else shape[1]
            sizes = {"logits": (shape[0], 2), "state": (shape[0], positions, self.hidden)}
            dtype = np.float16 if self.half else np.float32
            results = {
                name: value.ortvalue_from_shape_and_type(size, dtype, self.device, 0)
                for name, size in sizes.items()
            }
            for name, buffer in given.items():
                binding.bind_ortvalue_input(name, buffer)
            for name, buffer in results.items():
                binding.bind_ortvalue_output(name, buffer)
            waiting, running = self.ort.RunOptions(), self.ort.RunOptions()
            running.add_run_config_entry("disable_synchronize_execution_providers", "1")
            if self.uses_graph and self.candidate.cuda_graph == "session":
                for run in (waiting, running):
                    run.add_run_config_entry("gpu_graph_id", str(len(self.shapes) + 1))
            self.shapes[shape] = SimpleNamespace(
                given=given, results=results, binding=binding, waiting=waiting, running=running
            )
            if self.capturing:
                self.shapes[shape].replay = self.capture(self.shapes[shape])
        return self.shapes[shape]

    def capture(self, at: SimpleNamespace) -> Callable[[], None]:
        """A CUDA graph that PyTorch records while the session runs on PyTorch's stream."""
        for _ in range(3):
            self.session.run_with_iobinding(at.binding, at.waiting)
        self.synchronize()
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph, stream=self.capturing):
            self.session.run_with_iobinding(at.binding, at.running)
        self.synchronize()
        return graph.replay

    def run(self, arrays: tuple) -> SimpleNamespace:
        at = self.at(arrays[0].shape)
        for name, array in self.feeds(arrays).items():
            at.given[name].update_inplace(array)
        if self.capturing:
            at.replay()
            self.synchronize()
        else:
            self.session.run_with_iobinding(at.binding, at.waiting)
        return at

    def answer(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> np.ndarray:
        arrays = (ids, types, mask)
        if not self.candidate.bound:
            return self.session.run(["logits"], self.feeds(arrays))[0]
        return self.run(arrays).results["logits"].numpy()

    def device_step(self, shape: Shape) -> Callable[[], object]:
        at = self.at(shape)
        if self.capturing:
            return at.replay
        return lambda: self.session.run_with_iobinding(at.binding, at.running)

    def state(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> tuple:
        arrays = tuple(a.astype(self.integers) for a in (ids, types, mask))
        results = self.run(arrays).results
        return tuple(results[n].numpy().astype(np.float32) for n in ("logits", "state"))
