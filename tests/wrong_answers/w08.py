"""Plausible wrong answers to the exercises in 08_hardware."""

import itertools

import numpy as np
import onnxruntime as ort


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


def _half(x):  # all in fp16
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float16(1e-5))


def _late(x):  # the squares are cast, but after they overflowed
    centred = x - x.mean(-1, keepdims=True)
    squares = (centred * centred).astype(np.float32)
    return (centred / np.sqrt(squares.mean(-1, keepdims=True) + 1e-5)).astype(np.float16)


def _bound(session, array):
    given = ort.OrtValue.ortvalue_from_numpy(array, "cpu", 0)
    result = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, np.float32, "cpu", 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", given)
    binding.bind_ortvalue_output("y", result)
    return binding, result


def _never_refilled(open_model, arrays):
    session = open_model()
    binding, result = _bound(session, arrays[0])
    found = []
    for _ in arrays:
        session.run_with_iobinding(binding)
        found.append(result.numpy().copy())
    return found


def _bound_in_the_loop(open_model, arrays):
    session, found = open_model(), []
    for array in arrays:
        binding, result = _bound(session, array)
        session.run_with_iobinding(binding)
        found.append(result.numpy().copy())
    return found


WRONG = {
    "08.copies": [
        _changes,  # as if each node read only the one before
        _readers,
        lambda model, supported: sum(n.op_type not in supported for n in model.graph.node),
    ],
    "08.layer_norm": [
        _half,
        _late,
        lambda x: x - x.mean(-1, keepdims=True),
        lambda x: (
            (x - x.mean(-1, keepdims=True, dtype=np.float32))  # right, in fp32
            / np.sqrt(x.var(-1, keepdims=True, dtype=np.float32) + 1e-5)
        ),
    ],
    "08.in_fp32": [
        lambda model, op_type: sum(n.op_type == op_type for n in model.graph.node),
        lambda model, op_type: sum(  # any cast, to fp64 and back to fp16 too
            n.op_type == op_type
            and n.input[0] in {c.output[0] for c in model.graph.node if c.op_type == "Cast"}
            for n in model.graph.node
        ),
    ],
    "08.bound": [
        lambda open_model, arrays: [open_model().run(None, {"x": a})[0] for a in arrays],
        _never_refilled,
        _bound_in_the_loop,
    ],
    "08.static_shapes": [
        lambda shapes, step: len(set(shapes)),  # nothing rounded
        lambda shapes, step: len({(texts, width // step * step) for texts, width in shapes}),
        lambda shapes, step: len({-(-width // step) for _, width in shapes}),  # widths alone
    ],
}
