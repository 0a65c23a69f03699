"""Which products lose most in 8 bits, so that these can be kept in fp32.

The measure is that of ONNX Runtime's ``qdq_loss_debug``: the ratio of signal to rounding error in
decibels. It needs no Q/DQ file here, because the ranges of dynamic quantization are known: those of
each batch.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tutorial_utils.graph import inspection, smoothquant
from tutorial_utils.graph.quantization import MATRIX_OPS, quantize


def decibels(source: Path, batches: Iterable[dict[str, np.ndarray]]) -> dict[str, float]:
    """Name of each product of an fp32 file → signal to rounding error of its result, worst first.

    Both the activations (one range a batch) and the weights (one scale a column) are rounded; only
    the error of the product itself counts, not that of earlier layers. Two or three batches are
    enough.
    """
    graph = onnx.load(str(source)).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [
        node
        for node in graph.node
        if node.op_type in MATRIX_OPS
        and node.input[1] in weights
        and not node.name.startswith(smoothquant.KEPT)
    ]
    signal = dict.fromkeys((node.name for node in products), 0.0)
    noise = dict(signal)
    names = list(dict.fromkeys(node.input[0] for node in products))
    for tensors in inspection.tensors(source, names, batches):
        for node in products:
            matrix = weights[node.input[1]]
            if any(a.name == "transB" and a.i for a in node.attribute):
                matrix = matrix.T
            given = tensors[node.input[0]]
            right = given @ matrix
            rounded = _in_8_bits(given) @ quantize(matrix, per_channel=True).dequantize()
            signal[node.name] += float(np.square(right).sum())
            noise[node.name] += float(np.square(right - rounded).sum())
    tiny = np.finfo(float).tiny
    found = {n: 10 * np.log10(max(signal[n], tiny) / max(noise[n], tiny)) for n in signal}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _in_8_bits(values: np.ndarray) -> np.ndarray:
    """Rounded as ``DynamicQuantizeLinear`` does: uint8 from the least to the greatest, 0 exact."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    zero = np.rint(-low / scale)
    return ((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale).astype(np.float32)
