"""Solutions to the exercises of 03_quantization."""

from collections import Counter
from math import prod
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic


def asymmetric(values):
    """Scale and zero point of unsigned 8-bit levels for `values`, as for activations."""
    lowest = min(0.0, min(values))  # 0 must be exact: padding and ReLU produce many zeros
    highest = max(0.0, max(values))
    scale = (highest - lowest) / 255  # 256 levels, so 255 steps
    zero_point = round((0.0 - lowest) / scale)
    return scale, zero_point


def left_in_float(proto):
    """Bytes of fp32 matrices, by the operator that reads them."""
    sizes = {
        tensor.name: 4 * prod(tensor.dims)
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
    }
    found = Counter()
    for node in proto.graph.node:
        for name in node.input:
            found[node.op_type] += sizes.pop(name, 0)  # a shared matrix counts once
    return {op: size for op, size in found.items() if size}


def in_8_bits(model, target):
    """Write the model with every matrix in 8 bits, in the form that x86 is fast with."""
    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=["MatMul", "Gemm", "Attention", "Gather"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def reader(batches):
    """Calibration data: each of `batches` once, then None."""

    class Batches(CalibrationDataReader):
        """Remembers how far it has come."""

        def __init__(self):
            self.remaining = iter(batches)

        def get_next(self):
            """The next batch, or None after the last one."""
            return next(self.remaining, None)

    return Batches()


def choose(model, target, candidates, limit, agreement):
    """Leave those products in fp32 that help most, as far as the size allows."""

    def write(excluded):
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul", "Gemm", "Attention", "Gather"],
            nodes_to_exclude=excluded,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        return Path(target).stat().st_size

    alone = {}
    for name in candidates:
        write([name])
        alone[name] = agreement(target)
    kept = []
    for name in sorted(alone, key=alone.get, reverse=True):
        if write([*kept, name]) <= limit:
            kept.append(name)
    write(kept)
    return kept
