"""Half precision (fp16): the form of a graph for GPUs, which compute fp16 products much faster.

fp16 has 11 significant bits and ends at 65,504. Products of weights are fine with that, since a GPU
adds them up in fp32. The sums of squares in a normalization and of exponentials in a softmax are
not: they overflow, or lose small terms. So these operators stay in fp32, between two casts. Fused
operators (Attention, SkipLayerNormalization) have their sums inside, where the CUDA kernels use
fp32 themselves.
"""

import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.graph import storage

KEPT = ("LayerNormalization", "Softmax")  # operators that stay in fp32
LARGEST = float(np.finfo(np.float16).max)


class OutOfRange(TutorialError, ValueError):
    """A weight is too large for fp16; the message names it."""


def to_fp16(source: Path, target: Path) -> None:
    """Write ``source`` (fp32) with weights and products in fp16 to ``target``.

    Inputs and outputs keep their types, and the operators of ``KEPT`` theirs.

    Raises:
        OutOfRange: a weight would become another one. ONNX Runtime's converter cuts it in silence.
    """
    model = onnx.load(source)
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        # A lone number is no weight but a mask's "minus infinity": cutting it does no harm.
        if array.dtype == np.float32 and array.size > 1:
            largest = np.abs(array[np.isfinite(array)]).max(initial=0)
            if largest > LARGEST:
                raise OutOfRange(
                    f"{weight.name} reaches {largest:.3g}, but fp16 ends at {LARGEST:,.0f}. Use "
                    "the fp32 file."
                )
    _prepare(model.graph)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiny weights become 0, or the smallest fp16 number
        half = convert_float_to_float16(
            model, keep_io_types=True, disable_shape_infer=True, op_block_list=list(KEPT)
        )
    storage.write(half, target)


def _prepare(graph: onnx.GraphProto) -> None:
    """Help the converter to keep operators in fp32.

    It casts only values whose type it knows. The inputs and outputs of these operators are floats
    in any fp32 graph; other types of the exporter no longer hold. And where a weight is shared with
    an operator in fp16, it writes a graph that cannot be loaded: so each side gets its own.
    """
    kept = [node for node in graph.node if node.op_type in KEPT]
    others = {n for node in graph.node if node.op_type not in KEPT for n in node.input}
    weights = {weight.name: weight for weight in graph.initializer}
    for name in {n for node in kept for n in node.input if n in weights and n in others}:
        graph.initializer.add().CopyFrom(weights[name])
        graph.initializer[-1].name = f"{name}_fp32"
        for node in kept:
            node.input[:] = [f"{name}_fp32" if given == name else given for given in node.input]
    own = {weight.name for weight in graph.initializer}
    del graph.value_info[:]
    for name in sorted({n for node in kept for n in (*node.input, *node.output) if n} - own):
        graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
