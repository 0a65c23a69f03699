"""Exercises of 03_quantization."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

from tutorial_utils.lessons.exercises import solutions
from tutorial_utils.lessons.exercises.core import exercise

exercise(
    "03.asymmetric",
    [
        (np.array(values),)
        for values in ([-0.3, 0.0, 0.9, 2.1], [0.5, 1.0, 2.0], [-4.0, -1.0], [-1.0, 1.0, 3.0])
    ],
    "First find the two ends of the range. Which number must always be inside it?",
    "lowest = min(0, values.min()) and highest = max(0, values.max()). 256 levels have 255 steps "
    "between them.",
    "scale = (highest - lowest) / 255, and the zero point is round(-lowest / scale). Return both.",
)


def _graph(text: str) -> onnx.ModelProto:
    head = '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>'
    return onnx.parser.parse_model(f"{head} {text}")


_TABLE = "float[3, 2] table = {1, 2, 3, 4, 5, 6}"
_SQUARE = "float[2, 2] w = {1, 2, 3, 4}"
_EIGHT = "int8[2, 2] w8 = {1, 2, 3, 4}, float[2] s = {1, 2}"

exercise(
    "03.left_in_float",
    [
        (_graph(f"g ({given}) => (float[N, 2] y) <{weights}> {body}"),)
        for given, weights, body in (
            ("float[N, 2] x", f"{_SQUARE}, float[2] b = {{1, 2}}",
             "{ p = MatMul(x, w)  y = Add(p, b) }"),
            ("int64[N] ids", f"{_TABLE}, {_SQUARE}",
             "{ x = Gather(table, ids)  y = MatMul(x, w) }"),
            ("float[N, 2] x", _EIGHT,
             "{ q, a, z = DynamicQuantizeLinear(x)  i = MatMulInteger(q, w8, z)"
             "  f = Cast<to = 1>(i)  y = Mul(f, s) }"),
            ("int64[N] ids", f"{_TABLE}, {_SQUARE}",
             "{ x = Gather(table, ids)  p = MatMul(x, w)  m = Transpose(w)  y = MatMul(p, m) }"),
            ("float[N, 2] x", f"float[2, 6] qkv = {{{', '.join('0' * 12)}}}, float[6] b = "
             f"{{{', '.join('0' * 6)}}}",
             "{ y = com.microsoft.Attention<num_heads = 1>(x, qkv, b) }"),
        )
    ],
    "Which initializers are fp32 matrices? Then ask each node which of them it reads.",
    "An initializer `t` is one if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1. It "
    "has prod(t.dims) numbers of 4 bytes. Keep their sizes by name.",
    "for node in proto.graph.node: for name in node.input: "
    "found[node.op_type] += sizes.pop(name, 0). Leave out the operators with 0 at the end.",
)  # fmt: skip


def _small_model() -> onnx.ModelProto:
    """A fused graph in miniature, with seeded weights: embeddings, attention, products."""
    model = _graph("""g (int64[n, m] ids) => (float[n, 2] logits) {
        x = Gather(table, ids)
        a = com.microsoft.Attention<num_heads = 4>(x, qkv, qkv_bias)
        u = MatMul(a, up)
        t = Tanh(u)
        d = MatMul(t, down)
        p = ReduceMax<keepdims = 0>(d, axis)
        logits = Gemm(p, out, out_bias)
    }""")
    rng = np.random.default_rng(0)
    shapes = {"table": (100, 32), "qkv": (32, 96), "qkv_bias": (96,), "up": (32, 64)}
    shapes |= {"down": (64, 32), "out": (32, 2), "out_bias": (2,)}
    weights = {name: rng.normal(0, 0.3, s).astype(np.float32) for name, s in shapes.items()}
    return _with(model, weights | {"axis": np.array([1])})


def _with(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in weights.items()
    )
    return model


@contextmanager
def _quiet() -> Iterator[Path]:
    """A folder to write to, while the quantizer says nothing."""
    import logging

    from tutorial_utils.core import scoped

    with (
        tempfile.TemporaryDirectory() as folder,
        scoped.log_level("root", logging.ERROR),
    ):
        yield Path(folder)


def _run(path: Path, **inputs: np.ndarray) -> np.ndarray:
    from tutorial_utils.runtime.session import open_session

    return open_session(path).run(None, inputs)[0]


def _judge_in_8_bits(answer: Callable) -> str | None:
    """Quantize a small model with it, and read the file."""
    with _quiet() as folder:
        before, after = folder / "before.onnx", folder / "after.onnx"
        onnx.save(_small_model(), before)
        answer(_small_model(), after)
        if not after.exists():
            return "It writes no file to `target`"
        written = onnx.load(after)
        if left := solutions.function("03.left_in_float")(written):
            return f"The file still has fp32 matrices for {', '.join(sorted(left))}"
        return _wrong_weights(written) or _wrong_answers(before, after)


def _wrong_weights(written: onnx.ModelProto) -> str | None:
    tensors = {tensor.name: tensor for tensor in written.graph.initializer}
    up = next((t for name, t in tensors.items() if name.startswith("up_quant")), None)
    if up is None:
        return "The file has no 8-bit weights for the MatMul"
    if up.data_type != onnx.TensorProto.INT8:
        return "The weights of the MatMul are unsigned; x86 is fast with signed ones"
    if np.prod(tensors["up_scale"].dims) == 1:
        return "A matrix has one scale for all of its columns"
    if np.abs(onnx.numpy_helper.to_array(up).astype(int)).max() < 100:
        return "The weights of the MatMul use only half of their levels (7 bits)"
    return None


def _wrong_answers(before: Path, after: Path) -> str | None:
    ids = np.random.default_rng(1).integers(0, 100, (64, 8))
    exact, rounded = (_run(path, ids=ids) for path in (before, after))
    if np.abs(exact - rounded).max() > exact.std():
        return "The answers of the file are far from those of the model"
    return None


exercise(
    "03.in_8_bits",
    (),
    "Keep `extra_options` from the call above. Print left_in_float of the file that it writes: "
    "which operators must be in the list, if you need one at all? And is `reduce_range` needed?",
    "Five arguments matter: op_types_to_quantize, per_channel, reduce_range, weight_type and "
    "extra_options. Without op_types_to_quantize, the quantizer takes every operator it knows.",
    'quantize_dynamic(model, target, op_types_to_quantize=["MatMul", "Gemm", "Attention", '
    '"Gather"], per_channel=True, weight_type=QuantType.QInt8, '
    'extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})',
    judge=_judge_in_8_bits,
)


def _calibrated(reader) -> float:
    """The scale that static quantization finds for the input of a small model."""
    from onnxruntime.quantization import quantize_static

    model = _with(_graph("g (float[n, 2] x) => (float[n, 2] y) { y = MatMul(x, w) }"),
                  {"w": np.eye(2, dtype=np.float32)})  # fmt: skip
    with _quiet() as folder:
        quantize_static(model, folder / "static.onnx", reader, op_types_to_quantize=["MatMul"])
        tensors = onnx.load(folder / "static.onnx").graph.initializer
        scales = {t.name: onnx.numpy_helper.to_array(t) for t in tensors}
    return float(scales["x_scale"])


def _judge_reader(answer: Callable) -> str | None:
    """Read two readers of the same batches to their ends, then calibrate with a third."""
    batches = [{"x": np.full((1, 2), value, dtype=np.float32)} for value in (-1.0, 2.0, 50.0)]
    for which in ("A", "A second"):
        reader = answer(batches)
        if not callable(getattr(reader, "get_next", None)):
            return "What it returns has no method `get_next`"
        given = [reader.get_next() for _ in range(len(batches) + 2)]
        if any(found is not batch for found, batch in zip(given, batches, strict=False)):
            return f"{which} reader of three batches does not give all three, in their order"
        if given[len(batches) :] != [None, None]:
            return "After the last batch, get_next has to return None, each time"
    found, right = _calibrated(answer(batches)), 51 / 255
    if abs(found - right) > 1e-4:
        return f"Calibrating with it gives a scale of {found:.4f}, expected {right:.4f}"
    return None


exercise(
    "03.reader",
    (),
    "quantize_static calls get_next() until it returns None. So the reader must remember how far "
    "it has come.",
    "Write a class that inherits from CalibrationDataReader. In __init__, keep iter(batches). A "
    "reader of its own needs an iterator of its own, so the class is the wrong place for it.",
    "In get_next: return next(self.remaining, None), where __init__ set "
    "self.remaining = iter(batches). Then return an object of the class.",
    judge=_judge_reader,
)

_DENSE = tuple(f"dense_{i}" for i in range(5))
_OUTLIERS = {"dense_1": 40.0, "dense_3": 150.0}  # a channel that is so many times larger


def _chain() -> onnx.ModelProto:
    """Products one after the other, two of which read a channel far larger than the others."""
    rng = np.random.default_rng(0)
    weights = {"table": rng.normal(0, 1, (500, 64)).astype(np.float32)}
    lines, x = ["x = Gather(table, ids)"], "x"
    for name in _DENSE:
        matrix = rng.normal(0, 0.2, (64, 64)).astype(np.float32)
        if name in _OUTLIERS:
            stretch = np.ones(64, dtype=np.float32)
            stretch[7] = _OUTLIERS[name]
            weights[f"{name}_stretch"] = stretch
            matrix /= stretch[:, None]  # the product is the same
            lines.append(f"{name}_in = Mul({x}, {name}_stretch)")
            x = f"{name}_in"
        weights[f"{name}_w"] = matrix
        lines += [f"[{name}] {name}_p = MatMul({x}, {name}_w)", f"{name}_t = Tanh({name}_p)"]
        x = f"{name}_t"
    weights["out_w"] = rng.normal(0, 0.3, (64, 2)).astype(np.float32)
    lines.append(f"[out] logits = MatMul({x}, out_w)")
    return _with(_graph(f"g (int64[n] ids) => (float[n, 2] logits) {{ {' '.join(lines)} }}"),
                 weights)  # fmt: skip


def _judge_choose(answer: Callable) -> str | None:
    """Compare with the solution where there is room for no product, for one, and for two."""
    ids = np.arange(500)
    reference = solutions.function("03.choose")
    with _quiet() as folder:
        fp32, target = folder / "fp32.onnx", folder / "chosen.onnx"
        onnx.save(_chain(), fp32)
        labels = _run(fp32, ids=ids).argmax(axis=1)

        def agreement(path) -> float:
            return float((_run(path, ids=ids).argmax(axis=1) == labels).mean())

        reference(_chain(), target, [], 0, agreement)
        smallest = target.stat().st_size
        worst = sorted(_OUTLIERS, key=_OUTLIERS.__getitem__, reverse=True)
        for room in (0, 1, 2):
            limit = smallest + 1_000 + room * 13_000  # a product in fp32 takes 12,288 bytes more
            target.unlink(missing_ok=True)
            answer(_chain(), target, list(_DENSE), limit, agreement)
            if not target.exists():
                return "It writes no file to `target`"
            size, reached = target.stat().st_size, agreement(target)
            if size > limit:
                return f"The file has {size:,} bytes, and at most {limit:,} were allowed"
            reference(_chain(), target, worst[:room], limit, agreement)
            if reached < (best := agreement(target)) - 0.002:
                return f"With {limit:,} bytes it reaches {reached:.1%}; {best:.1%} are possible"
    return None


exercise(
    "03.choose",
    (),
    "Try each candidate alone: leave it in fp32, write the file, and ask `agreement`. Which one "
    "helps most?",
    "quantize_dynamic takes the names as nodes_to_exclude. Sort the candidates by the agreement "
    "that each reaches alone, and add them in this order while the file stays within `limit`.",
    "write(names) quantizes with nodes_to_exclude=names and returns the size. For each name, "
    "best first: if write([*kept, name]) <= limit, kept.append(name). Write `kept` at the end.",
    judge=_judge_choose,
)
