"""Static quantization: the ranges of activations are measured once on samples (calibration)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from tutorial_utils.core import paths
from tutorial_utils.graph.quantization import plain_model


class _Calibration(CalibrationDataReader):
    """Gives prepared model inputs to the quantizer, batch by batch."""

    def __init__(self, batches: Iterable[dict[str, np.ndarray]]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def quantize(
    source: Path,
    target: Path,
    batches: Iterable[dict[str, np.ndarray]],
    *,
    method: CalibrationMethod = CalibrationMethod.MinMax,
    per_channel: bool = True,
    symmetric: bool = False,
    weight_type: QuantType = QuantType.QInt8,
    ops: Sequence[str] = ("MatMul",),
    exclude: Sequence[str] = (),
) -> Path:
    """Quantize weights and activations to 8 bits; ``batches`` give the ranges. Return ``target``.

    ``source`` is the exporter's plain graph, because the quantizer fails on fused ones. Only
    products with constant weights are quantized; a product of two activations would lose too much.

    symmetric: make ranges of activations symmetric about zero.
    ops: types of operators. exclude: names of nodes that stay in fp32.
    """
    with plain_model(source) as plain, paths.replacing(Path(target)) as temporary:
        quantize_static(
            plain,
            temporary,
            _Calibration(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(ops),
            per_channel=per_channel,
            weight_type=weight_type,
            activation_type=QuantType.QUInt8,
            calibrate_method=method,
            nodes_to_exclude=list(exclude),
            extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": symmetric},
        )
    return Path(target)
