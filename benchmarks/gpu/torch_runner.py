"""The same model in PyTorch: as it is, as a captured CUDA graph, or compiled."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.gpu import weights
from benchmarks.gpu.runner import Runner, Shape


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

    @property
    def takes_mask(self) -> bool:
        return not (self.cuda_graph or self.compiled)

    def build(self, folder: Path, config: dict, device: str) -> "TorchRunner":
        return TorchRunner(self, config, device)


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


class TorchRunner(Runner):
    """The same weights in transformers' model, its attention by PyTorch (``sdpa``)."""

    integers = np.int64

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
