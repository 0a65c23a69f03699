"""Weights in 8 bits, and activations too at run time: dynamic quantization, and our recipe.

ONNX Runtime's quantizer gives an embedding table one scale, so one large row makes the steps of all
others coarse. ``quantize_rows`` gives each row its own scale, which is looked up with the row.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnx_ir.tape import Tape
from onnxruntime.quantization import quantize_dynamic

from tutorial_utils.core import machine, scoped
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.graph import rewrites, smoothquant, storage
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
        raise InvalidArgument("Only finite weights can be quantized: find the NaN or infinity.")
    largest = np.abs(weights).max(axis=0, keepdims=True) if per_channel else np.abs(weights).max()
    smallest = np.finfo(np.float32).tiny  # what is less divides to infinity
    scale = np.where(largest > 0, np.maximum(largest / 127, smallest), 1).astype(np.float32)
    values = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    return Tensor8(values, scale)


def quantize_rows(model: ir.Model) -> int:
    """Store each float table that a Gather looks rows up in as int8, in place; return how many.

    Gather(table, ids) becomes Cast(Gather(levels, ids)) × Gather(scales, ids). A table of one
    column is left alone: its scales would be as large as itself.
    """
    stored: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
    for node in rewrites.nodes(model, "Gather"):
        table, ids = node.inputs
        if table is None or not _is_table(table) or node.attributes.get_int("axis", 0) != 0:
            continue
        if table not in stored:
            eight = quantize(rewrites.array_of(table).T, per_channel=True)
            levels = rewrites.constant(model, f"{table.name}_levels", eight.values.T)
            scales = rewrites.constant(model, f"{table.name}_row_scales", eight.scale.T)
            stored[table] = levels, scales
        levels, scales = stored[table]
        tape = Tape()
        floats = tape.op("Cast", [tape.op("Gather", [levels, ids])], {"to": ir.DataType.FLOAT})
        tape.op("Mul", [floats, tape.op("Gather", [scales, ids])])
        rewrites.replace(model, node, tape)
    RemoveUnusedNodesPass()(model)
    return len(stored)


def _is_table(value: ir.Value) -> bool:
    if not rewrites.is_constant(value):
        return False
    array = rewrites.array_of(value)
    return array.dtype == np.float32 and array.ndim == 2 and array.shape[1] > 1


def dynamic(
    source: Path,
    target: Path,
    *,
    per_channel: bool = True,
    embeddings: str = "rows",
    exclude: Sequence[str] = (),
    reduce_range: bool | None = None,
    **options,
) -> Path:
    """INT8 weights; the ranges of activations are found at each run. Return ``target``.

    embeddings: the tables too, with a scale for each of their ``rows`` or one for each ``table``;
        ``float`` leaves them in fp32, and the file is nowhere near four times smaller.
    exclude: names of nodes that stay in fp32, besides those that ``smoothquant`` keeps there.
    reduce_range: 7-bit weights, whose products with 8-bit activations cannot saturate. By default
        where those of 8 bits can (``machine.saturates``); open the file with ``made_here`` then.
    options: of ONNX Runtime's ``quantize_dynamic``: ``weight_type``, by default ``QInt8``, because
        x86 has fast u8×s8 kernels.
    """
    ops = MATRIX_OPS + {"rows": (), "table": EMBEDDING_OPS, "float": ()}[embeddings]
    with plain_model(source) as plain, storage.replacing(target) as temporary:
        if embeddings == "rows":
            model = ir.from_proto(plain)
            quantize_rows(model)
            plain = rewrites.without_shapes(model)
        kept = [node.name for node in plain.graph.node if node.name.startswith(smoothquant.KEPT)]
        kept += exclude
        quantize_dynamic(
            plain,
            temporary,
            use_external_data_format=storage.is_large(storage.size(plain)),
            op_types_to_quantize=list(ops),
            per_channel=per_channel,
            # The quantizer first makes a MatMul of each Gemm, under another name.
            nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)],
            reduce_range=machine.saturates() if reduce_range is None else reduce_range,
            # Fused operators hide the types of their outputs from shape inference.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            **options,
        )
    return Path(target)


def recommended(source: Path, target: Path, batches: Iterable[dict[str, np.ndarray]]) -> Path:
    """``dynamic`` after ``smoothquant.smooth``: closer to fp32, same size. Return ``target``.

    batches: inputs that look like real requests.
    """
    with storage.replacing(target) as temporary:
        smoothquant.smooth(source, temporary, batches)
        dynamic(temporary, temporary)
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
