"""Which products lose most in 8 bits, so that these can be kept in fp32.

The measure is that of ONNX Runtime's ``qdq_loss_debug``: the ratio of signal to rounding error in
decibels. It needs no Q/DQ file here, because the ranges of dynamic quantization are known: those of
each batch.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tutorial_utils.graph import inspection, quantization, smoothquant
from tutorial_utils.graph.quantization import MATRIX_OPS, quantize

SHARES = (1 / 8, 1 / 4, 1 / 2)  # of the products that may stay in fp32, tried in this order
MEASURED = 3  # batches that the error of the products is measured on


@dataclass(frozen=True)
class Kept:
    """How many of a file's products with weights stay in fp32, and whether that is enough."""

    kept: int
    products: int
    enough: bool

    def __str__(self) -> str:
        return f"{self.kept} of {self.products} products in fp32"


def mixed(
    source: Path,
    target: Path,
    batches: Sequence[dict[str, np.ndarray]],
    enough: Callable[[Path], bool],
) -> Kept:
    """As ``quantization.recommended``, but the products that lose most stay in fp32.

    As few as needed to make the file good ``enough``, and at least one, and at most half of them:
    if that is not enough either, ``target`` is the file with half of them.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        smooth = Path(folder, target.name)
        smoothquant.smooth(source, smooth, batches)
        kept, good = [], False
        worst = list(decibels(smooth, batches[:: -(-len(batches) // MEASURED)]))
        for share in SHARES:
            kept = worst[: max(1, round(share * len(worst)))]
            quantization.dynamic(smooth, target, exclude=kept)
            if good := enough(target):
                break
    return Kept(len(kept), len(worst), good)


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
