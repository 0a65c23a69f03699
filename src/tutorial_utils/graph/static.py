"""INT8 with calibrated scales: the Q/DQ form, for providers such as OpenVINO and TensorRT.

The CPU provider's form (``quantization``) finds the range of each activation at each run. Here all
ranges are measured once, on sample inputs, and stored. QuantizeLinear and DequantizeLinear (Q/DQ)
around a product say so in standard operators, and the provider makes 8-bit kernels of them.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tutorial_utils.core import machine
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.graph import inspection, quantization, rewrites, smoothquant, storage
from tutorial_utils.graph.rewrites import array_of, constant, is_constant

PRODUCTS = ("MatMul", "Gemm")
# Share of an outlier that goes to the weights: more than with dynamic quantization, because a fixed
# range must hold the outliers of all texts. From 0.8 to 0.95 the error of the course's classifier
# was the same within its noise; with 0.5 it was twice as large.
ALPHA = 0.9

Inputs = dict[str, np.ndarray]


class _Samples(CalibrationDataReader):
    """Hands model inputs to the quantizer, batch by batch."""

    def __init__(self, batches: Iterable[Inputs]):
        self._batches = iter(batches)

    def get_next(self) -> Inputs | None:
        return next(self._batches, None)


def calibrated(
    source: Path,
    target: Path,
    batches: Iterable[Inputs],
    *,
    exclude: Sequence[str] = (),
    reduce_range: bool | None = None,
) -> Path:
    """Write the Q/DQ form of a plain fp32 file to ``target``, and return ``target``.

    Each MatMul and Gemm gets int8 weights with one scale a column, and its activations one uint8
    range; embedding tables are int8 with one scale a row. All else stays fp32.

    source: as exported with ``export.export(..., attention="eager")``; not fused.
    batches: inputs that look like real requests; a few hundred texts are enough. Batch texts of
        similar length, because the values at padding widen the ranges.
    exclude: names of products that stay in fp32, such as those of ``attention_products``.
    reduce_range: 7-bit weights, whose products with 8-bit activations cannot saturate. By default
        where those of 8 bits can (``machine.saturates``), in OpenVINO's kernels, too.

    Raises:
        ValueError: there are no batches, or no product has a name in ``exclude``.
    """
    given = iter(batches)
    if (first := next(given, None)) is None:
        raise InvalidArgument("Give at least one batch: without samples there are no ranges.")
    with quantization.plain_model(source) as plain, storage.replacing(target) as temporary:
        model = ir.from_proto(plain)
        known = {node.name for op in PRODUCTS for node in rewrites.nodes(model, op)}
        if unknown := sorted(set(exclude) - known):
            raise InvalidArgument(f"The file has no product of the name {', '.join(unknown)}.")
        quantization.quantize_rows(model)
        plain = rewrites.without_shapes(model)
        quantize_static(
            plain,
            temporary,
            _Samples(chain([first], given)),
            use_external_data_format=storage.is_large(storage.size(plain)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(PRODUCTS),
            per_channel=True,
            reduce_range=machine.saturates() if reduce_range is None else reduce_range,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            nodes_to_exclude=list(exclude),
            # Results go on in fp32: rounding them too would cost accuracy and gain no time.
            extra_options={"OpTypesToExcludeOutputQuantization": list(PRODUCTS)},
        )
    return Path(target)


def recommended(
    source: Path, target: Path, batches: Iterable[Inputs], *, exclude: Sequence[str] = ()
) -> Path:
    """``calibrated`` after ``smooth``: closer to fp32, same size. Return ``target``."""
    batches = list(batches)
    with storage.replacing(target) as temporary:
        smooth(source, temporary, batches)
        calibrated(temporary, temporary, batches, exclude=exclude)
    return Path(target)


def attention_products(source: Path) -> list[str]:
    """Names of the products of two activations: scores, and their product with the values."""
    graph = inspection.load_structure(source).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [n.name for n in graph.node if n.op_type == "MatMul" and not constants & set(n.input)]


def smooth(source: Path, target: Path, batches: Iterable[Inputs], alpha: float = ALPHA) -> int:
    """Write ``source`` with smaller outliers in what goes into products; return how many inputs.

    SmoothQuant (Xiao et al., ICML 2023), as in ``smoothquant``, but without folding the division
    into a normalization: x W = (x / s)(s W), and a provider makes one step of the division and the
    quantization after it. So it works for every input, those from a GELU or an attention too.
    """
    largest = smoothquant.ranges(source, batches)
    return rewrites.edited(source, target, lambda model: _divide(model, largest, alpha))


def _divide(model: ir.Model, largest: dict[str, np.ndarray], alpha: float) -> int:
    """Divide the channels of inputs of MatMuls, and multiply the rows of their weights."""
    seen = smoothquant.alike(model, largest)
    readers: dict[str, list[ir.Node]] = {}
    for node in rewrites.nodes(model, "MatMul"):
        value = node.inputs[0]
        if value is not None and value.name in seen and is_constant(node.inputs[1]):
            readers.setdefault(value.name, []).append(node)
    for name, products in readers.items():
        weights = [array_of(node.inputs[1]) for node in products]
        scale = smoothquant.scales(seen[name], weights, alpha)
        value, inverse = products[0].inputs[0], constant(model, f"{name}_smoothing", 1 / scale)
        divided = ir.node("Mul", [value, inverse])
        model.graph.insert_before(products[0], [divided])
        for node, weight in zip(products, weights, strict=True):
            node.replace_input_with(0, divided.outputs[0])
            smooth_weight = constant(model, f"{node.name}_smooth", weight * scale[:, None])
            node.replace_input_with(1, smooth_weight)
    return len(readers)
