"""Plausible wrong answers to the exercises of 03_quantization."""

from math import prod
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic

FLOAT = {"DefaultTensorType": onnx.TensorProto.FLOAT}
OPERATORS = ["MatMul", "Gemm", "Attention", "Gather"]


def _left(proto, size=lambda t: 4 * prod(t.dims), counts=lambda t: len(t.dims) > 1, types=(1,)):
    sizes = {t.name: size(t) for t in proto.graph.initializer if t.data_type in types and counts(t)}
    found = {}
    for node in proto.graph.node:
        for name in node.input:
            if name in sizes:
                found[node.op_type] = found.get(node.op_type, 0) + sizes.pop(name)
    return found


def _quantize(model, target, **changed):
    right = {"op_types_to_quantize": OPERATORS, "per_channel": True, "extra_options": FLOAT}
    quantize_dynamic(model, target, **right | {"weight_type": QuantType.QInt8} | changed)


def _without(model, target, names):
    _quantize(model, target, nodes_to_exclude=names)
    return Path(target).stat().st_size


def _fill(model, target, names, limit):
    """Leave the names in fp32, in their order, as far as the size allows."""
    kept = []
    for name in names:
        if _without(model, target, [*kept, name]) <= limit:
            kept.append(name)
    _without(model, target, kept)


def _by_agreement(model, target, names, limit, agreement, reverse):
    """Sorted by what each reaches alone; every one that fits alone is kept."""
    alone = {}
    for name in names:
        _without(model, target, [name])
        alone[name] = agreement(target)
    _fill(model, target, sorted(names, key=alone.get, reverse=reverse), limit)


class _Shared(CalibrationDataReader):
    """All readers share one iterator, which the first one uses up."""

    remaining = None

    def __init__(self, batches):
        if _Shared.remaining is None:
            _Shared.remaining = iter(batches)

    def get_next(self):
        return next(_Shared.remaining, None)


class _First(CalibrationDataReader):
    """Always the first batch."""

    def __init__(self, batches):
        self.batches = batches
        self.given = 0

    def get_next(self):
        self.given += 1
        return self.batches[0] if self.given <= len(self.batches) else None


class _Raises(CalibrationDataReader):
    """Ends with an error."""

    def __init__(self, batches):
        self.remaining = iter(batches)

    def get_next(self):
        return next(self.remaining)


class _Forever(CalibrationDataReader):
    """Begins again after the last batch."""

    def __init__(self, batches):
        self.batches = batches
        self.given = 0

    def get_next(self):
        self.given += 1
        return self.batches[(self.given - 1) % len(self.batches)]


WRONG = {
    "03.asymmetric": [
        # Forgets that 0 must be in the range.
        lambda values: (
            (max(values) - min(values)) / 255,
            round(-min(values) * 255 / (max(values) - min(values))),
        ),
        # The symmetric scheme, as for weights.
        lambda values: (max(abs(v) for v in values) / 127, 0),
        # 256 steps instead of 255.
        lambda values: (
            (max(*values, 0.0) - min(*values, 0.0)) / 256,
            round(-min(*values, 0.0) * 256 / (max(*values, 0.0) - min(*values, 0.0))),
        ),
    ],
    "03.left_in_float": [
        lambda proto: _left(proto, size=lambda t: prod(t.dims)),  # numbers, not bytes
        lambda proto: _left(proto, counts=lambda t: True),  # biases too
        lambda proto: _left(proto, types=(1, 2, 3)),  # 8-bit weights too
        # Counts nodes by their names, as if a MatMul always held weights.
        lambda proto: {n.op_type: 1 for n in proto.graph.node if n.op_type in OPERATORS},
        # Only products.
        lambda proto: {op: n for op, n in _left(proto).items() if op == "MatMul"},
    ],
    "03.in_8_bits": [
        lambda model, target: _quantize(
            model, target, op_types_to_quantize=["MatMul", "Add", "Gemm"]
        ),
        lambda model, target: _quantize(model, target, op_types_to_quantize=OPERATORS[:3]),
        lambda model, target: _quantize(model, target, extra_options={}),  # cannot tell types
        lambda model, target: _quantize(model, target, weight_type=QuantType.QUInt8),
        lambda model, target: _quantize(model, target, per_channel=False),
        lambda model, target: _quantize(model, target, reduce_range=True),
        lambda model, target: onnx.save(model, target),  # as it was
    ],
    "03.reader": [
        lambda batches: iter(batches),  # no get_next
        _Shared,
        _First,
        _Raises,
        _Forever,
        lambda batches: batches,
    ],
    "03.choose": [
        # As many as fit, without trying which of them help.
        lambda model, target, candidates, limit, agreement: _fill(model, target, candidates, limit),
        # All of them, whatever the size.
        lambda model, target, candidates, limit, agreement: _without(model, target, candidates),
        # None of them.
        lambda model, target, candidates, limit, agreement: _without(model, target, []),
        # Those that help least.
        lambda model, target, candidates, limit, agreement: _by_agreement(
            model, target, candidates, limit, agreement, reverse=False
        ),
        # Only the one that helps most.
        lambda model, target, candidates, limit, agreement: _without(
            model, target, ["dense_3"] if limit > 70_000 else []
        ),
    ],
}
