"""Exercises of 08_hardware."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.core.quiet import quiet_stderr
from tutorial_utils.lessons.exercises.comparison import difference
from tutorial_utils.lessons.exercises.core import exercise
from tutorial_utils.runtime import session


def _model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')


def _product(shape: tuple[int, ...], kind: str, dtype: type) -> onnx.ModelProto:
    """One product of ``x`` (…, 8) with a constant weight (8, 16)."""
    op, made = ("MatMulInteger", "int32") if kind == "uint8" else ("MatMul", kind)
    sizes = ", ".join(map(str, shape))
    model = _model(f"product ({kind}[{sizes}, 8] x) => ({made}[m] y) {{ y = {op} (x, w) }}")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((8, 16), dtype), "w"))
    return model


exercise(
    "08.intensity",
    [
        (_product((1,), "float", np.float32),),
        (_product((128,), "float", np.float32),),
        (_product((2, 12), "float16", np.float16),),
        (_product((4, 6), "uint8", np.int8),),
    ],
    "Count both for one weight. How many rows of `x` use it, and how many bytes has it?",
    "Operations: 2 × rows × inner × columns. Bytes: inner × columns × the bytes of one weight. "
    "All dimensions of `x` but the last make up its rows.",
    "2 * math.prod(sizes[:-1]) / helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize, where "
    "`sizes` are the dim_value of model.graph.input[0].type.tensor_type.shape.dim and `weight` is "
    "model.graph.initializer[0].",
)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """ONNX Runtime tells of a provider that fails in three ways: hide all."""
    with quiet_stderr(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _judge_open_on(answer: Callable) -> str | None:
    """Ask for providers that run, that are listed but do not run here, and that do not exist."""
    model = _model("g (float[n] x) => (float[n] y) { y = Neg (x) }").SerializeToString()
    listed = [*session.PROVIDERS.values()]  # as a build for GPUs lists them on every machine
    with _silent(), mock.patch.object(ort, "get_available_providers", return_value=listed):
        opened = answer(model, "CPUExecutionProvider")
        if not isinstance(opened, ort.InferenceSession):
            return "Asked for the CPU, it does not return an InferenceSession."
        for short in ("cuda", "tensorrt", "invented"):
            provider = session.PROVIDERS.get(short, "InventedExecutionProvider")
            try:
                opened = answer(model, provider)
            except RuntimeError as error:
                if session.provider_problem(short) is None:
                    return f"{provider} runs here, but it raises: {error}"
                continue
            if opened.get_providers()[0] != provider:
                runs = opened.get_providers()[0]
                return f"Asked for {provider}, it returns a session that runs on {runs}."
    return None


exercise(
    "08.open_on",
    (),
    "Open the session first. Then ask the session itself what it runs on.",
    "The list of available providers is that of the build. `session.get_providers()[0]` is the "
    "provider that gets the nodes first: it must be the one that was asked for.",
    "session = ort.InferenceSession(model, providers=[provider]), then: if "
    "session.get_providers()[0] != provider: raise a RuntimeError, else return the session.",
    judge=_judge_open_on,
)

_CHAIN = _model(
    """chain (float[n] x) => (float[n] y) {
    a = Neg (x)
    b = Gelu (a)
    c = Abs (b)
    y = Add (c, a)
    }"""
)
_FORK = _model(
    """fork (float[n] x) => (float[n] y)
    <float bias = {2.0}> {
    shifted = Add (x, bias)
    a = Gelu (shifted)
    b = Neg (a)
    c = Abs (a)
    d = Mul (b, c)
    y = Gelu (d)
    }"""
)

exercise(
    "08.copies",
    [
        (_CHAIN, {"Neg", "Gelu", "Abs", "Add"}),
        (_CHAIN, {"Neg", "Abs", "Add"}),
        (_CHAIN, {"Neg", "Gelu"}),
        (_CHAIN, set()),
        (_FORK, {"Neg", "Abs", "Mul"}),
        (_FORK, {"Neg", "Mul", "Gelu"}),
    ],
    "Note for each value on which side it is made. Who reads it on the other side?",
    "Inputs of the model are made on the CPU, outputs of a node where the node runs. Collect names "
    "in a set: a value with two readers is copied once. Weights are made nowhere, so skip them.",
    "made = {i.name: False for i in model.graph.input}; for each node: made[output] = node.op_type "
    "in supported. Collect each node.input that is in `made` on the other side than its node, and "
    "each output of the model that is made on the GPU. Return the size of that set.",
)

# Each overflows in another place: nowhere, in a square, in a mean of squares, in a difference.
_ROWS = (
    np.array([[1, 2, 3, 4]], np.float16),
    np.array([[300, -300, 150, 20]], np.float16),
    np.array([[200] * 63 + [-200], [0.25] * 32 + [0.5] * 32], np.float16),
    np.array([[60_000, 60_000, -60_000, 0]], np.float16),
)


def _judge_layer_norm(answer: Callable) -> str | None:
    """Run the graph exactly as it is written, each operator in its own type."""
    text = answer()
    if not isinstance(text, str):
        return "It does not return the text of a graph: copy `NAIVE` and change it."
    try:
        model = onnx.parser.parse_model(text)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        return f"ONNX cannot read the graph: {str(error).strip()[:200]}"
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT16:
            return f"`{value.name}` is no longer float16."
    for row in _ROWS:
        with np.errstate(all="ignore"):
            (found,) = ReferenceEvaluator(model).run(None, {"x": row})
        wide = row.astype(float)
        right = (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, keepdims=True)
        if not np.allclose(found, right, atol=2e-3, rtol=2e-3):
            shown = ", ".join(f"{value:.4g}" for value in found[0][:4])
            wanted = ", ".join(f"{value:.4g}" for value in right[0][:4])
            given = ", ".join(f"{value:g}" for value in row[0][:4])
            return f"For a row {given} … it gives {shown}, expected {wanted}."
    return None


exercise(
    "08.layer_norm",
    (),
    "300 squared does not fit into fp16. Which values must be in fp32 before anything is squared?",
    "`wide = Cast <to = 1> (x)` makes fp32 of fp16, and `<to = 10>` goes back. Cast the input, and "
    "cast the result.",
    "Begin with wide = Cast <to = 1> (x), use `wide` in place of `x` in ReduceMean and Sub, let "
    "Div write `ratio`, and end with y = Cast <to = 10> (ratio).",
    judge=_judge_layer_norm,
)


class _OnlyBinding:
    """A session without ``run``, which can be bound once."""

    def __init__(self) -> None:
        model = _model(
            """add (float[n,m] a, float[n,m] b) => (float[n,m] logits) {
            twice = Add (b, b)
            logits = Add (a, twice)
            }"""
        )
        self._session = ort.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        self._bound = False
        self.run_with_iobinding = self._session.run_with_iobinding

    def io_binding(self) -> ort.IOBinding:
        if self._bound:
            raise InvalidArgument("io_binding() a second time: bind once, before the loop")
        self._bound = True
        return self._session.io_binding()


def _judge_bound(answer: Callable) -> str | None:
    """Bind two inputs, and look at each result."""
    for count, shape in ((2, (2, 3)), (3, (1, 4))):
        rng = np.random.default_rng(0)
        calls = [
            {name: rng.normal(size=shape).astype(np.float32) for name in ("a", "b")}
            for _ in range(count)
        ]
        right = [call["a"] + 2 * call["b"] for call in calls]
        result = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, "cpu", 0)
        if wrong := difference(answer(_OnlyBinding(), calls, result), right):
            return f"For {count} calls of shape {shape} it {wrong}."
    return None


exercise(
    "08.bound",
    (),
    "Do in this order: make a buffer for each input, bind all buffers once, then loop over the "
    "calls.",
    "ort.OrtValue.ortvalue_from_numpy(array, result.device_name(), 0) makes a buffer. Bind it with "
    "bind_ortvalue_input(name, buffer), and the output with bind_ortvalue_output. In the loop, "
    "refill with update_inplace, run, and copy the result: the next run overwrites it.",
    "In the loop: for name, array in call.items(): buffers[name].update_inplace(array); then "
    "session.run_with_iobinding(binding); then found.append(result.numpy().copy()).",
    judge=_judge_bound,
)

_MIXED = _model(
    """mixed (float16[n,8] x) => (float16[n,8] y) {
    wide = Cast <to = 1> (x)
    soft = Softmax (wide)
    half = Cast <to = 10> (soft)
    next = Softmax (half)
    exact = Cast <to = 11> (next)
    last = Softmax (exact)
    y = Cast <to = 10> (last)
    }"""
)

exercise(
    "08.in_fp32",
    [(_MIXED, "Softmax"), (_MIXED, "LayerNormalization"), (_CHAIN, "Gelu")],
    "Go through the Cast nodes first: which values do they make in fp32?",
    "A Cast to fp32 has node.attribute[0].i == onnx.TensorProto.FLOAT. Collect the outputs of "
    "those in a set.",
    "sum(n.op_type == op_type and n.input[0] in wide for n in model.graph.node), where `wide` has "
    "the output[0] of each Cast to FLOAT.",
)

exercise(
    "08.static_shapes",
    [
        ([(8, 17), (8, 30), (8, 32)], 16),
        ([(1, 5), (2, 5), (1, 16), (1, 17)], 16),
        ([(4, 64), (4, 65), (4, 127), (4, 128)], 64),
        ([(3, 7)], 1),
    ],
    "Round each width up first. Which shapes are still different?",
    "A set keeps each (texts, rounded width) once. Both numbers count: a graph has one shape.",
    "len({(texts, -(-width // step) * step) for texts, width in shapes})",
)
