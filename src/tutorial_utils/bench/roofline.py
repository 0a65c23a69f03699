"""How fast could it be? The machine's roofs, the work in a model, and where its time goes.

After Williams, Waterman and Patterson, *Roofline: An Insightful Visual Performance Model for
Multicore Architectures*, CACM 2009: no program does more operations a second than the arithmetic
units do, nor more than memory can feed.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from tutorial_utils.bench import timer
from tutorial_utils.core import machine
from tutorial_utils.runtime.inference import random_inputs
from tutorial_utils.runtime.session import SessionRecipe

# Rows × inner × columns: products of BERT-base at 8 × 128, and square ones in cache and beyond.
SHAPES = ((1024, 768, 3072), (1024, 3072, 768), (1024, 1024, 1024), (2048, 2048, 2048))
KINDS = ("fp32", "bf16", "u8×s8")
COPIED = 256 * 2**20  # bytes of the copy that measures memory: far beyond any cache


@dataclass(frozen=True)
class Gemm:
    """One matrix product (rows, inner) × (inner, columns), the right-hand side constant.

    kind: ``fp32`` and ``u8×s8`` run through ONNX Runtime. ``bf16`` runs through PyTorch, since
    ONNX Runtime has no such product on x86.
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
        rng = np.random.default_rng(0)
        if self.kind == "bf16":
            import torch

            torch.set_num_threads(machine.cores())
            left, right = (
                torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).bfloat16()
                for shape in ((self.rows, self.inner), (self.inner, self.columns))
            )
            return lambda: left @ right
        integer = self.kind == "u8×s8"
        given, weight, made = (
            (TensorProto.UINT8, np.int8, TensorProto.INT32)
            if integer
            else (TensorProto.FLOAT, np.float32, TensorProto.FLOAT)
        )
        right = rng.integers(-100, 100, (self.inner, self.columns)).astype(weight)
        product = helper.make_graph(
            [
                helper.make_node(
                    "MatMulInteger" if integer else "MatMul", ["left", "right"], ["out"]
                )
            ],
            "product",
            [helper.make_tensor_value_info("left", given, ["rows", self.inner])],
            [helper.make_tensor_value_info("out", made, ["rows", self.columns])],
            [onnx.numpy_helper.from_array(right, "right")],
        )
        opset = helper.make_opsetid("", 18)
        model = helper.make_model(product, ir_version=10, opset_imports=[opset])
        session = ort.InferenceSession(
            model.SerializeToString(), SessionRecipe().options(), providers=["CPUExecutionProvider"]
        )
        left = rng.integers(0, 200, (self.rows, self.inner))
        left = left.astype(np.uint8 if integer else np.float32)
        return lambda: session.run(None, {"left": left})


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


def roofs(
    shapes: tuple[tuple[int, int, int], ...] = SHAPES,
    rounds: int = 3,
    seconds: float = 0.3,
    kinds: tuple[str, ...] = KINDS,
) -> Roofs:
    """Measure the machine. ``failed`` says why a kind of product cannot run here."""
    best, failed = {}, {}
    for kind in kinds:
        products = {str(shape): Gemm(kind, *shape) for shape in shapes}
        try:
            found = timer.compare(products, rounds=rounds, seconds=seconds)
        except timer.CandidateFailed as error:
            failed[kind] = str(error).strip().splitlines()[-1]
            continue
        best[kind] = max(
            products[name].operations / (min(times) / 1e3) / 1e12
            for name, times in found.rounds.items()
        )
    copy = timer.compare({"copy": Copy()}, rounds=rounds, seconds=seconds)
    return Roofs(best, 2 * COPIED / (min(copy.rounds["copy"]) / 1e3) / 1e9, failed)


def work(path: Path, batch: int, length: int) -> Work:
    """The work of a fused or plain ONNX encoder at one shape, as it is run.

    Counts products with constant weights, and the two products inside each fused attention: where
    attention is not fused, take the work of the fused file, which is the same. How many rows a
    product has is seen by running the file once: a last layer that is computed for one token only
    has one row a text.
    """
    model = onnx.load(str(path))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    rows = _rows(model, batch, length)
    operations, read = 0.0, 0.0
    for node in model.graph.node:
        constant = next((weights[name] for name in node.input[1:3] if name in weights), None)
        if node.op_type in _PRODUCTS and constant is not None and len(constant.dims) == 2:
            inner, columns = constant.dims
            operations += 2 * rows[node.input[0]] * inner * columns
            read += inner * columns * _BYTES.get(constant.data_type, 4)
        if node.op_type in _ATTENTIONS:
            width = _attention_width(node, weights)
            operations += 4 * batch * length**2 * width
    return Work(operations, read)


def _rows(model: onnx.ModelProto, batch: int, length: int) -> dict[str, int]:
    """Rows of the left-hand side of each product, from one run that puts them all out."""
    inputs = {given.name for given in model.graph.input}
    wanted = {node.input[0] for node in model.graph.node if node.op_type in _PRODUCTS} - inputs
    wanted -= {tensor.name for tensor in model.graph.initializer}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted))
    options = SessionRecipe(optimization="none").options()
    session = ort.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {k: v for k, v in random_inputs(batch, length).items() if k in inputs}
    shapes = [value.shape for value in session.run(None, given)]
    return {
        name: int(np.prod(shape[:-1])) for name, shape in zip(sorted(wanted), shapes, strict=True)
    }


def profile(
    path: Path, recipe: SessionRecipe, batch: int, length: int, folder: Path, runs: int = 20
) -> dict[str, float]:
    """Milliseconds of one run by operator, the most expensive first, by ONNX Runtime's profiler.

    folder: where the profiler may write; nothing is left there. The first runs are not counted.
    """
    options = recipe.options()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = ort.InferenceSession(
        str(path),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(recipe.disabled_optimizers),
    )
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


def attainable(roofs: Roofs, kind: str, work: Work) -> float:
    """10^12 operations a second that neither roof forbids for this work."""
    return min(roofs.operations[kind], roofs.bytes * work.operations / work.bytes / 1e3)


_PRODUCTS = (
    "MatMul", "Gemm", "Attention", "MatMulInteger", "QAttention", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
)  # fmt: skip
_ATTENTIONS = ("Attention", "QAttention")
_BYTES = {TensorProto.INT8: 1, TensorProto.UINT8: 1, TensorProto.FLOAT16: 2, TensorProto.FLOAT: 4}


def _attention_width(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> int:
    """Width of the values that an attention sums: a third of its packed weights' columns."""
    packed = next(weights[name] for name in node.input[1:3] if name in weights)
    return packed.dims[1] // 3
