"""Weights in 8 bits, and at run time activations: dynamic quantization, and the series' recipe."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from tutorial_utils.core import paths, scoped
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.graph import smoothquant
from tutorial_utils.graph.int8_embeddings import quantize_rows
from tutorial_utils.graph.rewrites import without_shapes
from tutorial_utils.runtime.session import ERRORS_ONLY

ORT_DEFAULT_SEVERITY = 2  # warnings: what ONNX Runtime starts with

MATRIX_OPS = ("MatMul", "Attention", "Gemm")
EMBEDDING_OPS = ("Gather", "EmbedLayerNormalization")


@dataclass(frozen=True)
class Tensor8:
    """A float tensor in 8 bits: value ≈ quantized × scale."""

    values: np.ndarray  # int8
    scale: np.ndarray  # float32, one a tensor or one a column

    def dequantize(self) -> np.ndarray:
        """Back to float32, with the rounding error that 8 bits cost."""
        return self.values.astype(np.float32) * self.scale


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
    return Tensor8(values, scale)


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
    """INT8 weights; the ranges of activations are found at each run. Return ``target``.

    weight_type: ``QInt8`` for x86, whose u8×s8 kernels are the fast ones.
    embeddings: the tables too, with a scale for each of their ``rows`` or one for each ``table``;
        ``float`` leaves them in fp32, and the file is nowhere near four times smaller.
    reduce_range: 7-bit weights, for processors whose 8-bit products can overflow (no VNNI).
    exclude: names of nodes that stay in fp32, besides those that ``smoothquant`` keeps there.
    """
    ops = MATRIX_OPS + {"rows": (), "table": EMBEDDING_OPS, "float": ()}[embeddings]
    with plain_model(source) as plain, paths.replacing(Path(target)) as temporary:
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
    """``dynamic`` after ``smoothquant.smooth``: closer to fp32, same size. Return ``target``.

    batches: inputs that look like real requests. options: of ``dynamic``.
    """
    with paths.replacing(Path(target)) as temporary:
        smoothquant.smooth(source, temporary, batches)
        dynamic(temporary, temporary, **options)
    return Path(target)


@contextmanager
def plain_model(source: Path) -> Iterator[onnx.ModelProto]:
    """The model without inferred shapes, as the quantizers need it; they log nothing meanwhile."""
    model = onnx.load(str(source))
    del model.graph.value_info[:]
    # The quantizer advises a pre-processing step that fails on these graphs.
    with scoped.log_level("root", logging.ERROR):
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
        try:
            yield model
        finally:  # what it was before cannot be asked for
            onnxruntime.set_default_logger_severity(ORT_DEFAULT_SEVERITY)
