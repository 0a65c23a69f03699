"""How fast could it be? The machine's roofs, the work in a model, and where its time goes.

After Williams, Waterman and Patterson, *Roofline: An Insightful Visual Performance Model for
Multicore Architectures*, CACM 2009: no program does more operations a second than the arithmetic
units do, nor more than memory can feed.
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import helper, numpy_helper, parser

from tutorial_utils.core import machine
from tutorial_utils.graph import inspection
from tutorial_utils.runtime.inference import random_inputs
from tutorial_utils.runtime.session import SessionRecipe, made_here, open_session

# Rows × inner × columns: products of BERT-base at 8 × 128, and square ones in cache and beyond.
SHAPES = ((1024, 768, 3072), (1024, 3072, 768), (1024, 1024, 1024), (2048, 2048, 2048))
COPIED = 256 * 2**20  # bytes of the copy that measures memory: far beyond any cache
_KINDS = {  # kind → operator, ONNX types of left side and result, NumPy types of both sides
    "fp32": ("MatMul", "float", "float", np.float32, np.float32),
    "u8×s8": ("MatMulInteger", "uint8", "int32", np.uint8, np.int8),
}
_PRODUCTS = (
    "MatMul", "Gemm", "Attention", "MatMulInteger", "QAttention", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
)  # fmt: skip
_ATTENTIONS = ("Attention", "QAttention")


@dataclass(frozen=True)
class Gemm:
    """One matrix product (rows, inner) × (inner, columns) by ONNX Runtime.

    The right-hand side is constant. kind: ``fp32`` or ``u8×s8``, whose weights have 7 bits, so that
    the fastest kernels are exact on every processor.
    """

    kind: str
    rows: int
    inner: int
    columns: int
    items: int = 1

    @property
    def operations(self) -> int:
        return 2 * self.rows * self.inner * self.columns

    def build(self) -> Callable[[], object]:
        _, _, _, left_type, _ = _KINDS[self.kind]
        rng = np.random.default_rng(1)
        left = rng.integers(0, 200, (self.rows, self.inner)).astype(left_type)
        session = self.session()
        return lambda: session.run(None, {"left": left})

    def session(self) -> ort.InferenceSession:
        """The product in a session of its own, with the kernels that our INT8 files run with."""
        op, given, made, _, right_type = _KINDS[self.kind]
        model = parser.parse_model(f"""<ir_version: 10, opset_import: ["": 18]>
            product ({given}[rows, {self.inner}] left) => ({made}[rows, {self.columns}] out)
            {{ out = {op}(left, right) }}""")
        rng = np.random.default_rng(0)
        right = rng.integers(-64, 64, (self.inner, self.columns)).astype(right_type)
        model.graph.initializer.append(numpy_helper.from_array(right, "right"))
        options = made_here(SessionRecipe()).options()
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


@dataclass(frozen=True)
class Copy:
    """A copy in memory by all cores; reads and writes ``COPIED`` bytes each."""

    items: int = 1

    def build(self) -> Callable[[], object]:
        import torch

        torch.set_num_threads(machine.cores())
        source = torch.ones(COPIED // 4)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)


@dataclass(frozen=True)
class Roofs:
    """operations: best seen, in 10^12 a second, by kind. bytes: 10^9 moved a second."""

    operations: dict[str, float]
    bytes: float
    failed: dict[str, str]


@dataclass(frozen=True)
class Work:
    """What one run of a model cannot do without.

    operations: additions and multiplications of its matrix products. bytes: their weights, read
    once each; activations may stay in the cache.
    """

    operations: float
    bytes: float


def work(path: Path, batch: int, length: int) -> Work:
    """The work of a fused or plain ONNX encoder at one shape, as it is run.

    Counts products with constant weights, and the two products inside each fused attention: where
    attention is not fused, take the work of the fused file, which is the same. How many rows a
    product has is seen by running the file once: a last layer that is computed for one token only
    has one row a text.
    """
    graph = inspection.load_structure(path).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    products = []
    for node in graph.node:
        constant = next((weights[name] for name in node.input[1:3] if name in weights), None)
        if node.op_type in _PRODUCTS and constant is not None and len(constant.dims) == 2:
            products.append((node, constant))
    names = list({node.input[0] for node, _ in products})
    (left,) = inspection.tensors(path, names, [random_inputs(batch, length)])
    operations, read = 0.0, 0.0
    for node, constant in products:
        inner, columns = constant.dims
        operations += 2 * math.prod(left[node.input[0]].shape[:-1]) * inner * columns
        read += inner * columns * helper.tensor_dtype_to_np_dtype(constant.data_type).itemsize
        if node.op_type in _ATTENTIONS:  # its weights are those of queries, keys and values
            operations += 4 * batch * length**2 * (columns // 3)
    return Work(operations, read)


def profile(
    path: Path, recipe: SessionRecipe, batch: int, length: int, folder: Path, runs: int = 20
) -> dict[str, float]:
    """Milliseconds of one run by operator, the most expensive first, by ONNX Runtime's profiler.

    folder: where the profiler may write; nothing is left there. The first runs are not counted.
    """
    options = recipe.options()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = open_session(path, recipe, options)
    names = {value.name for value in session.get_inputs()}
    inputs = {k: v for k, v in random_inputs(batch, length).items() if k in names}
    warmup = max(1, runs // 4)
    for _ in range(warmup + runs):
        session.run(None, inputs)
    trace = Path(session.end_profiling())
    events = json.loads(trace.read_text())
    trace.unlink()
    kernels = [e for e in events if e["name"].endswith("_kernel_time")]
    first = len(kernels) * warmup // (warmup + runs)
    spent: Counter[str] = Counter()
    for event in kernels[first:]:
        spent[event["args"]["op_name"]] += event["dur"] / 1e3 / runs
    return dict(spent.most_common())


def share(operations: float, milliseconds: float, roof: float) -> float:
    """Share of a roof (10^12 operations a second) that a run reached, between 0 and 1."""
    return operations / (milliseconds / 1e3) / (roof * 1e12)
