"""Plausible wrong answers to the exercises in 08_hardware."""

import itertools
import math

import onnxruntime as ort
from onnx import helper


def _changes(model, supported):
    sides = [False, *(node.op_type in supported for node in model.graph.node), False]
    return sum(a != b for a, b in itertools.pairwise(sides))


def _readers(model, supported):  # a value with two readers is copied twice
    there = {n.output[0]: n.op_type in supported for n in model.graph.node}
    there |= {value.name: False for value in model.graph.input}
    inside = sum(
        there.get(name) == (n.op_type not in supported)
        for n in model.graph.node
        for name in n.input
    )
    return inside + sum(there[value.name] for value in model.graph.output)


_NORM = """<ir_version: 10, opset_import: ["" : 18]>
    norm (float16[rows, n] x) => ({made}[rows, n] y) <int64[1] last = {{-1}}> {{ {body} }}"""
_REST = """
    squares = Mul (centred, centred)
    variance = ReduceMean (squares, last)
    deviation = Sqrt (variance)
    y = Div (centred, deviation)"""
_START = "mean = ReduceMean (x, last) centred = Sub (x, mean)"
_LATE = """ squares = Mul (centred, centred)
    wide = Cast <to = 1> (squares)
    variance = ReduceMean (wide, last)
    deviation = Sqrt (variance)
    narrow = Cast <to = 10> (deviation)
    y = Div (centred, narrow)"""
_EARLY = """ wide = Cast <to = 1> (x)
    average = ReduceMean (wide, last)
    mean = Cast <to = 10> (average)
    centred = Sub (x, mean)"""


def _norm(body, made="float16"):
    return lambda: _NORM.format(made=made, body=body)


def _available(model, provider):
    if provider not in ort.get_available_providers():
        raise RuntimeError(provider)
    return ort.InferenceSession(model, providers=[provider])


def _device(model, provider):
    if provider.startswith("CUDA") and ort.get_device() != "GPU":
        raise RuntimeError(provider)
    return ort.InferenceSession(model, providers=[provider, "CPUExecutionProvider"])


def _some(model, provider):  # the CPU is always there
    session = ort.InferenceSession(model, providers=[provider, "CPUExecutionProvider"])
    if not session.get_providers():
        raise RuntimeError(provider)
    return session


def _sizes(model):
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


def _bytes(model):
    (weight,) = model.graph.initializer
    return helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize


def _bound(session, call, result):
    binding = session.io_binding()
    buffers = {n: ort.OrtValue.ortvalue_from_numpy(a.copy(), "cpu", 0) for n, a in call.items()}
    for name, buffer in buffers.items():
        binding.bind_ortvalue_input(name, buffer)
    binding.bind_ortvalue_output("logits", result)
    return binding, buffers


def _never_refilled(session, calls, result):
    binding, _ = _bound(session, calls[0], result)
    found = []
    for _ in calls:
        session.run_with_iobinding(binding)
        found.append(result.numpy().copy())
    return found


def _half_refilled(session, calls, result):
    binding, buffers = _bound(session, calls[0], result)
    found = []
    for call in calls:
        buffers["a"].update_inplace(call["a"])
        session.run_with_iobinding(binding)
        found.append(result.numpy().copy())
    return found


def _bound_in_the_loop(session, calls, result):
    found = []
    for call in calls:
        binding, _ = _bound(session, call, result)
        session.run_with_iobinding(binding)
        found.append(result.numpy().copy())
    return found


WRONG = {
    "08.intensity": [
        lambda model: 2 * _sizes(model)[-2] / _bytes(model),  # rows of one text only
        lambda model: 2 * math.prod(_sizes(model)[:-1]) / 4,  # as if all weights were fp32
        lambda model: math.prod(_sizes(model)[:-1]) / _bytes(model),  # no additions
        lambda model: 2 * math.prod(_sizes(model)) / _bytes(model),  # the inner size too
    ],
    "08.open_on": [
        _available,  # what the build has
        _device,
        _some,
        lambda model, provider: ort.InferenceSession(model, providers=[provider]),
    ],
    "08.copies": [
        _changes,  # as if each node read only the one before
        _readers,
        lambda model, supported: sum(n.op_type not in supported for n in model.graph.node),
    ],
    "08.layer_norm": [
        _norm(_START + _REST),  # all in fp16
        _norm(_START + _LATE),  # the squares are cast, but after they overflowed
        _norm(_EARLY + _REST),  # only the mean is in fp32
        _norm("wide = Cast <to = 1> (x)" + _START.replace("x", "wide") + _REST, "float"),
    ],
    "08.bound": [
        lambda session, calls, result: [session.run(None, call)[0] for call in calls],
        _never_refilled,
        _half_refilled,
        _bound_in_the_loop,
    ],
    "08.in_fp32": [
        lambda model, op_type: sum(n.op_type == op_type for n in model.graph.node),
        lambda model, op_type: sum(  # any cast, to fp64 and back to fp16 too
            n.op_type == op_type
            and n.input[0] in {c.output[0] for c in model.graph.node if c.op_type == "Cast"}
            for n in model.graph.node
        ),
        lambda model, op_type: sum(  # a cast behind the node
            n.op_type == op_type
            and n.output[0] in {c.input[0] for c in model.graph.node if c.op_type == "Cast"}
            for n in model.graph.node
        ),
    ],
    "08.static_shapes": [
        lambda shapes, step: len(set(shapes)),  # nothing rounded
        lambda shapes, step: len({(texts, width // step * step) for texts, width in shapes}),
        lambda shapes, step: len({-(-width // step) for _, width in shapes}),  # widths alone
    ],
}
