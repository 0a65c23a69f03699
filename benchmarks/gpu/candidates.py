"""What is timed: the same BERT on ONNX Runtime's CUDA provider, in PyTorch, and compiled.

Each candidate has two ways to be timed: ``device_step``, a call that leaves its result on the
device, and ``answer``, from NumPy arrays on the host to logits on the host. On a machine without a
GPU the same code runs with ``device="cpu"``, without CUDA graphs.
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.gpu import weights

Shape = tuple[int, int]  # (batch, sequence)
# Bits of the CUDA provider's option sdpa_kernel.
FLASH, EFFICIENT, UNFUSED = "1", "2", "16"


@dataclass(frozen=True)
class Onnx:
    """A graph in ONNX Runtime.

    graph: name of the file without suffix. cuda_graph: ``session``, captured by the session;
    ``outside``, captured by PyTorch around a run; or None. bound: inputs and outputs stay on the
    device (I/O binding). options: of the CUDA provider.
    """

    graph: str = "fused_fp16"
    cuda_graph: str | None = "session"
    bound: bool = True
    options: dict = field(default_factory=dict)

    def build(self, folder: Path, config: dict, device: str) -> "OnnxRunner":
        return OnnxRunner(self, folder, config, device)


@dataclass(frozen=True)
class Torch:
    """PyTorch. cuda_graph: replay a captured graph. compiled: a mode of torch.compile.

    A compiled one compiles for the shape ``first`` while it is built.
    """

    dtype: str = "float16"
    cuda_graph: bool = False
    compiled: str | None = None
    frozen: bool = False  # weights are constants to the compiler, which may merge products
    first: Shape = (1, 128)

    def build(self, folder: Path, config: dict, device: str) -> "TorchRunner":
        return TorchRunner(self, config, device)


def inputs(shape: Shape, vocabulary: int, seed: int, padded: bool = False) -> tuple:
    """Token ids, token types and mask, int64 (batch, sequence); rows full, or of random length."""
    generator = np.random.default_rng((*shape, seed))
    ids = generator.integers(1, vocabulary, shape)
    lengths = generator.integers(1, shape[1], shape[0], endpoint=True) if padded else shape[1]
    mask = np.arange(shape[1]) < np.broadcast_to(lengths, shape[0])[:, None]
    return ids * mask, np.zeros_like(ids), mask.astype(np.int64)


def cuda_libraries() -> str | None:
    """Folder of cuBLAS as NVIDIA's wheels install it; None where there is none."""
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else ()
    found = [path.parent for root in roots for path in Path(root).glob("*/lib/libcublas.so.*")]
    return str(found[0]) if found else None


def only_given(make: Callable) -> Callable:
    """No mask where none is given.

    Under a compiler or a CUDA graph's capture, transformers 5.17 makes one of ones in that case,
    which keeps PyTorch's fast attention kernels away.
    """

    def masks(attention_mask=None, **others):
        if attention_mask is None:
            return None, None
        return make(attention_mask=attention_mask, **others)

    return masks


class Runner:
    """What a built candidate can do; subclasses know how."""

    takes_mask = False

    def __init__(self, config: dict, device: str) -> None:
        self.device = device
        self.vocabulary = config.get("vocab_size", 30_522)
        self.hidden = config.get("hidden_size", 768)
        self.shapes: dict[Shape, SimpleNamespace] = {}

    def answer(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Logits on the host, from arrays on the host."""
        raise NotImplementedError

    def device_step(self, shape: Shape) -> Callable[[], object]:
        """A call on inputs that are on the device; its result stays there. Does not wait."""
        raise NotImplementedError

    def state(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> tuple:
        """Logits and last hidden state, in float32 on the host."""
        raise NotImplementedError

    def arrays(self, shape: Shape, seed: int, padded: bool = False) -> tuple:
        return tuple(a.astype(self.integers) for a in inputs(shape, self.vocabulary, seed, padded))

    def about(self) -> dict[str, str]:
        """Versions of the libraries that do the work."""
        raise NotImplementedError

    def synchronize(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def time(self, shape: Shape, measure: str, seconds: float) -> float:
        """Milliseconds of a call. ``device``: the mean of calls in a row; ``host``: the median."""
        if measure == "device":
            step = self.device_step(shape)
        else:
            arrays = self.arrays(shape, seed=0)

            def step() -> None:
                self.answer(*arrays)

        warmed, begin = 0, time.perf_counter()
        while warmed < 3 or time.perf_counter() - begin < seconds / 2:
            step()
            self.synchronize()
            warmed += 1
        calls = max(5, int(seconds * warmed / (time.perf_counter() - begin)))
        taken = []
        begin = time.perf_counter()
        for _ in range(calls):
            before = time.perf_counter()
            step()
            taken.append(time.perf_counter() - before)
        self.synchronize()
        mean = (time.perf_counter() - begin) / calls
        return 1e3 * (mean if measure == "device" else float(np.median(taken)))

    def texts(self, lengths: list[int], batch: int, passes: int) -> list[float]:
        """Texts per second of each pass: sorted by length, padded to a multiple of 16."""
        lengths = sorted(lengths)
        batches = []
        for at in range(0, len(lengths), batch):
            rows = lengths[at : at + batch]
            ids, types, _ = inputs((len(rows), -(-rows[-1] // 16) * 16), self.vocabulary, seed=at)
            mask = (np.arange(ids.shape[1]) < np.array(rows)[:, None]).astype(self.integers)
            batches.append((ids.astype(self.integers) * mask, types.astype(self.integers), mask))
        found = []
        for _ in range(passes + 1):  # the first one warms up
            begin = time.perf_counter()
            for arrays in batches:
                self.answer(*arrays)
            found.append(len(lengths) / (time.perf_counter() - begin))
        return found[1:]

    def kernels(self, shape: Shape, calls: int = 10) -> dict:
        """Kernels of one call: how many, their summed microseconds, and the costliest by name."""
        from torch import profiler

        step = self.device_step(shape)
        step()
        self.synchronize()
        kind = profiler.ProfilerActivity
        with profiler.profile(
            activities=[kind.CUDA if self.device == "cuda" else kind.CPU]
        ) as seen:
            for _ in range(calls):
                step()
            self.synchronize()
        events = [e for e in seen.key_averages() if e.self_device_time_total > 0]
        events.sort(key=lambda e: -e.self_device_time_total)
        return {
            "kernels": sum(e.count for e in events) / calls,
            "microseconds": sum(e.self_device_time_total for e in events) / calls,
            "costliest": [
                {
                    "name": e.key[:160],
                    "calls": e.count / calls,
                    "microseconds": e.self_device_time_total / calls,
                }
                for e in events[:16]
            ],
        }


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
        self.takes_mask = "attention_mask" in self.names
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
            sizes = {"logits": (shape[0], 2), "state": (*shape, self.hidden)}
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


class TorchRunner(Runner):
    """The same weights in transformers' model, its attention by PyTorch (``sdpa``)."""

    integers = np.int64
    takes_mask = True

    def __init__(self, candidate: Torch, config: dict, device: str) -> None:
        import torch
        from transformers import BertConfig, BertForSequenceClassification

        super().__init__(config, device)
        self.candidate, self.torch = candidate, torch
        torch.set_num_threads(2)
        with torch.device(device):
            model = BertForSequenceClassification(BertConfig(num_labels=2, **config)).eval()
        drawn = model.state_dict()
        for name, value in drawn.items():
            value.copy_(torch.from_numpy(weights.draw(name, tuple(value.shape))))
        model = model.to(getattr(torch, candidate.dtype))

        def forward(ids, types, mask=None):
            out = model.bert(ids, attention_mask=mask, token_type_ids=types)
            return model.classifier(out.pooler_output), out.last_hidden_state

        model.forward = forward
        model.bert._create_attention_masks = only_given(model.bert._create_attention_masks)
        self.function = model
        if candidate.compiled:
            from torch._inductor import config as inductor

            inductor.freezing = candidate.frozen
            self.function = torch.compile(model, mode=candidate.compiled, dynamic=False)
            for _ in range(3):  # the third call replays what the second one recorded
                self.device_step(candidate.first)()
            self.synchronize()

    def about(self) -> dict[str, str]:
        torch = self.torch
        cudnn = torch.backends.cudnn.version() if self.device == "cuda" else None
        return {"torch": torch.__version__, "CUDA": torch.version.cuda, "cuDNN": cudnn}

    @property
    def uses_graph(self) -> bool:
        return self.device == "cuda" and self.candidate.cuda_graph

    def to_device(self, arrays: tuple) -> tuple:
        """Tensors on the device; no mask where no row is padded, which is the fast way."""
        ids, types, mask = arrays
        used = (ids, types) if mask.all() else (ids, types, mask)
        with self.torch.inference_mode():  # always, or a compiled model compiles again
            return tuple(self.torch.from_numpy(array).to(self.device) for array in used)

    def at(self, shape: Shape) -> SimpleNamespace:
        """Tensors on the device, and a captured graph on them where one is used."""
        if shape not in self.shapes:
            given = self.to_device(self.arrays(shape, seed=0))
            at = SimpleNamespace(given=given)
            if self.uses_graph:
                side = self.torch.cuda.Stream()
                side.wait_stream(self.torch.cuda.current_stream())
                with self.torch.inference_mode(), self.torch.cuda.stream(side):
                    for _ in range(3):
                        self.function(*given)
                self.torch.cuda.current_stream().wait_stream(side)
                graph = self.torch.cuda.CUDAGraph()
                with self.torch.inference_mode(), self.torch.cuda.graph(graph):
                    at.results = self.function(*given)
                at.replay = graph.replay
            self.shapes[shape] = at
        return self.shapes[shape]

    def run(self, arrays: tuple) -> tuple:
        with self.torch.inference_mode():
            if not self.uses_graph:
                return self.function(*self.to_device(arrays))
            at = self.at(arrays[0].shape)
            for buffer, array in zip(at.given, arrays, strict=False):
                buffer.copy_(self.torch.from_numpy(array))
            at.replay()
            return at.results

    def answer(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.run((ids, types, mask))[0].cpu()

    def device_step(self, shape: Shape) -> Callable[[], object]:
        at = self.at(shape)
        if self.uses_graph:
            return at.replay

        def step() -> object:
            with self.torch.inference_mode():
                return self.function(*at.given)

        return step

    def state(self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray) -> tuple:
        return tuple(t.float().cpu().numpy() for t in self.run((ids, types, mask)))

    def ceilings(self) -> dict[str, float]:
        """Bytes per second of a large copy, both ways counted, and fp16 operations of a product."""
        cuda, torch = self.device == "cuda", self.torch
        source = torch.ones(2**30 if cuda else 2**22, dtype=torch.float32, device=self.device)
        target, size = torch.empty_like(source), 8192 if cuda else 256
        a, b = (torch.randn(size, size, device=self.device).half() for _ in range(2))
        out = torch.empty_like(a)
        copy = self.seconds(lambda: target.copy_(source))
        product = self.seconds(lambda: torch.matmul(a, b, out=out))
        return {
            "bytes per second": 2 * source.nbytes / copy,
            "operations per second": 2 * size**3 / product,
        }

    def seconds(self, call: Callable[[], object]) -> float:
        for _ in range(3):
            call()
        taken = []
        for _ in range(5):
            self.synchronize()
            begin = time.perf_counter()
            for _ in range(4):
                call()
            self.synchronize()
            taken.append((time.perf_counter() - begin) / 4)
        return float(np.median(taken))
