"""Weights, and at run time activations, in 8 bits: dynamic, and static with calibration."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tutorial_utils.core import paths, scoped
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.graph import smoothquant
from tutorial_utils.graph.int8_embeddings import quantize_rows
from tutorial_utils.graph.rewrites import without_shapes
from tutorial_utils.runtime.session import ERRORS_ONLY

ORT_DEFAULT_SEVERITY = 2  # warnings, as ONNX Runtime starts

MATRIX_OPS = ("MatMul", "Attention", "Gemm")
EMBEDDING_OPS = ("Gather", "EmbedLayerNormalization")


@dataclass(frozen=True)
class Tensor8:
    """A float tensor in 8 bits: value ≈ (quantized − zero point) × scale."""

    values: np.ndarray  # int8
    scale: np.ndarray  # float32, one a tensor or one a column
    zero_point: np.ndarray

    def dequantize(self) -> np.ndarray:
        """Back to float32, with the rounding error that 8 bits cost."""
        return (self.values.astype(np.float32) - self.zero_point) * self.scale


def quantize(weights: np.ndarray, per_channel: bool = False) -> Tensor8:
    """Symmetric int8 in [-127, 127] with one scale, or one for each column, of a float matrix.

    Raises:
        ValueError: a value is not finite.
    """
    if not np.isfinite(weights).all():
        raise InvalidArgument(
            "Only finite weights can be quantized; find the NaN or infinity first."
        )
    largest = np.abs(weights).max(axis=0, keepdims=True) if per_channel else np.abs(weights).max()
    smallest = np.finfo(np.float32).tiny  # what is less divides to infinity
    scale = np.where(largest > 0, np.maximum(largest / 127, smallest), 1).astype(np.float32)
    values = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    return Tensor8(values, scale, np.zeros_like(scale))


def dynamic(
    source: Path,
    target: Path,
    *,
    per_channel: bool = True,
    weight_type: QuantType = QuantType.QInt8,
    embeddings: str = "rows",
    reduce_range: bool = False,
    exclude: Sequence[str] = (),
) -> Path:
    """INT8 weights; activations are quantized anew at each run. Return ``target``.

    weight_type: ``QInt8`` for x86, whose u8×s8 kernels are the fast ones.
    embeddings: the tables too, with a scale for each of their ``rows`` or one for each ``table``;
        ``float`` leaves them, and the file is nowhere near four times smaller.
    reduce_range: 7-bit weights, for processors whose 8-bit products can overflow (no VNNI).
    exclude: names of nodes that stay in fp32, beside those that ``smoothing`` keeps so.
    """
    ops = MATRIX_OPS + {"rows": (), "table": EMBEDDING_OPS, "float": ()}[embeddings]
    with _without_shapes(source) as plain, paths.replacing(Path(target)) as temporary:
        if embeddings == "rows":
            model = ir.from_proto(plain)
            quantize_rows(model)
            plain = without_shapes(model)
        kept = [node.name for node in plain.graph.node if node.name.startswith(smoothquant.KEPT)]
        quantize_dynamic(
            plain,
            temporary,
            op_types_to_quantize=list(ops),
            per_channel=per_channel,
            weight_type=weight_type,
            reduce_range=reduce_range,
            nodes_to_exclude=[*exclude, *kept],
            # Fused operators hide the types of their outputs from shape inference.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    return Path(target)


def recommended(
    source: Path, target: Path, batches: Iterable[dict[str, np.ndarray]], **options
) -> Path:
    """``dynamic`` after ``smoothing.smooth``: nearer to fp32 in as many bytes. Return ``target``.

    batches: inputs that look like real requests. options: of ``dynamic``.
    """
    with paths.replacing(Path(target)) as temporary:
        smoothquant.smooth(source, temporary, batches)
        dynamic(temporary, temporary, **options)
    return Path(target)


class Calibration(CalibrationDataReader):
    """Hands prepared model inputs to the quantizer one batch after the other."""

    def __init__(self, batches: Iterable[dict[str, np.ndarray]]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def static(
    source: Path,
    target: Path,
    batches: Iterable[dict[str, np.ndarray]],
    *,
    method: CalibrationMethod = CalibrationMethod.MinMax,
    per_channel: bool = True,
    symmetric: bool = False,
    weight_type: QuantType = QuantType.QInt8,
    ops: Sequence[str] = ("MatMul",),
    reduce_range: bool = False,
    exclude: Sequence[str] = (),
) -> Path:
    """INT8 weights and activations, whose ranges are those seen in ``batches``. Return ``target``.

    Takes the exporter's plain graph: on fused ones the quantizer fails. Matrix products with
    constant weights only; both sides of an activation × activation product would lose too much.

    symmetric: the range of an activation is as wide below zero as above.
    ops: types of operators. exclude: names of nodes that stay in fp32.
    """
    with _without_shapes(source) as plain, paths.replacing(Path(target)) as temporary:
        quantize_static(
            plain,
            temporary,
            Calibration(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(ops),
            per_channel=per_channel,
            weight_type=weight_type,
            activation_type=QuantType.QUInt8,
            calibrate_method=method,
            reduce_range=reduce_range,
            nodes_to_exclude=list(exclude),
            extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": symmetric},
        )
    return Path(target)


@contextmanager
def _without_shapes(source: Path) -> Iterator[onnx.ModelProto]:
    """The model free of inferred shapes, as the quantizers need it, and they silent."""
    model = onnx.load(str(source))
    del model.graph.value_info[:]
    # The quantizer advises a pre-processing step that fails on these graphs.
    with scoped.log_level("root", logging.ERROR):
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
        try:
            yield model
        finally:  # what it was before cannot be asked for
            onnxruntime.set_default_logger_severity(ORT_DEFAULT_SEVERITY)
