"""Exercises of 08_hardware."""

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons.exercises.core import exercise


def _model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')


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
    "Note for each value where it is made: inputs of the model on the CPU, outputs of a node where "
    "the node runs. Then collect, in a set, the names that a node on the other side reads, and "
    "outputs of the model that are made on the GPU. Skip names that were not noted: weights.",
)

exercise(
    "08.layer_norm",
    [
        (np.array([1, 2, 3, 4], np.float16),),
        (np.array([300, -300, 150, 20], np.float16),),
        (np.array([[200] * 63 + [-200], [0.25] * 32 + [0.5] * 32], np.float16),),
        (np.array([60_000, 60_000, -60_000, 0], np.float16),),
    ],
    "300 squared does not fit into fp16, and a sum can overflow too. Cast to float32 first, do "
    "everything there, and cast the result back.",
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
    "First collect the outputs of all Cast nodes whose attribute `to` (attribute[0].i) is "
    "onnx.TensorProto.FLOAT. Then count the nodes of the type whose first input is among them.",
)


class _OnlyBinding:
    """A session without ``run``, which can be bound once."""

    def __init__(self) -> None:
        model = _model("double (float[n,m] x) => (float[n,m] y) { y = Add (x, x) }")
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


exercise(
    "08.bound",
    [
        (_OnlyBinding, [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)]),
        (_OnlyBinding, [np.full((1, 4), -value, np.float32) for value in (2.5, 0.5, 8.0)]),
    ],
    "Make both buffers from the first array, with ortvalue_from_numpy and "
    'ortvalue_from_shape_and_type; bind_ortvalue_input("x", …), bind_ortvalue_output("y", …). Then '
    "for each array: update_inplace, run_with_iobinding(binding), and a copy of the output's "
    "numpy(), because the next run writes into the same buffer.",
)

exercise(
    "08.static_shapes",
    [
        ([(8, 17), (8, 30), (8, 32)], 16),
        ([(1, 5), (2, 5), (1, 16), (1, 17)], 16),
        ([(4, 64), (4, 65), (4, 127), (4, 128)], 64),
        ([(3, 7)], 1),
    ],
    "Round each width up to a multiple of `step`, and count the different (texts, width) that "
    "remain.",
)
