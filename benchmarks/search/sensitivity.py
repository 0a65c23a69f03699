"""Which layers lose most in 8 bits: ONNX Runtime's own comparison of a float and a Q/DQ file.

Both run on the same inputs, and all intermediate tensors are compared. The result is the ratio of
signal to rounding error in decibels: with 20 dB more, the error is a tenth.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import qdq_loss_debug as debug


def activations(
    floats: Path, quantized: Path, batches: Sequence[dict[str, np.ndarray]]
) -> dict[str, float]:
    """Signal to rounding error of each quantized activation of a Q/DQ file, in dB, worst first.

    Only the rounding of this tensor counts, not errors of earlier layers. All tensors of all
    batches are in memory at once, so give only a few short batches.
    """
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for i, path in enumerate((floats, quantized)):
            plain, wide = (Path(folder) / f"{kind}{i}.onnx" for kind in ("plain", "wide"))
            model = onnx.load(path)
            del model.graph.value_info[:]  # the exporter's notes on shapes mislead the tools
            onnx.save(model, plain)
            debug.modify_model_output_intermediate_tensors(str(plain), str(wide))
            seen.append(debug.collect_activations(str(wide), iter(batches)))
    matched = debug.create_activation_matching(seen[1], seen[0])
    errors = debug.compute_activation_error({n: m for n, m in matched.items() if "float" in m})
    return dict(sorted(((n, e["qdq_err"]) for n, e in errors.items()), key=lambda item: item[1]))


def readers(floats: Path, tensors: Sequence[str]) -> list[str]:
    """Names of the matrix products that read one of the tensors."""
    nodes = onnx.load(floats, load_external_data=False).graph.node
    return [node.name for node in nodes if node.op_type == "MatMul" and node.input[0] in tensors]
