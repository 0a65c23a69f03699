"""Which layers suffer from eight bits: ONNX Runtime's own comparison of a float and a Q/DQ file.

Both run on the same inputs, all tensors in between are kept, and the signal of each is set against
its rounding error, in decibels: 20 dB more is a tenth of the error.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import qdq_loss_debug as debug

from tutorial_utils.graph.quantization import Calibration

Inputs = dict[str, np.ndarray]


def weights(floats: Path, quantized: Path) -> dict[str, float]:
    """Signal to rounding error of each weight of a Q/DQ file, in dB, the worst first."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (Path(folder) / f"{kind}.onnx" for kind in ("floats", "quantized"))
        matched = debug.create_weight_matching(_plain(floats, first), _plain(quantized, second))
    return _ascending(debug.compute_weight_error(matched))


def activations(floats: Path, quantized: Path, batches: Sequence[Inputs]) -> dict[str, float]:
    """Signal to rounding error of each quantized activation of a Q/DQ file, in dB, worst first.

    Only the error of rounding this tensor counts, not what came in from the layers before it. All
    tensors of all batches are in memory at once: a few short batches are enough.
    """
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for i, path in enumerate((floats, quantized)):
            plain, wide = (Path(folder) / f"{kind}{i}.onnx" for kind in ("plain", "wide"))
            debug.modify_model_output_intermediate_tensors(str(_plain(path, plain)), str(wide))
            seen.append(debug.collect_activations(str(wide), _reader(batches)))
    matched = debug.create_activation_matching(seen[1], seen[0])
    errors = debug.compute_activation_error({n: m for n, m in matched.items() if "float" in m})
    return _ascending({name: error["qdq_err"] for name, error in errors.items()})


def readers(floats: Path, tensors: Sequence[str]) -> list[str]:
    """Names of the matrix products that read one of the tensors: what to leave in fp32."""
    nodes = onnx.load(str(floats), load_external_data=False).graph.node
    return [node.name for node in nodes if node.op_type == "MatMul" and node.input[0] in tensors]


def products(floats: Path) -> dict[str, onnx.NodeProto]:
    """Matrix products by the name of the layer, which is that of the bias added to them."""
    nodes = onnx.load(str(floats), load_external_data=False).graph.node
    made_by = {node.output[0]: node for node in nodes if node.op_type == "MatMul"}
    found = {}
    for add in (node for node in nodes if node.op_type == "Add"):
        biases = [name for name in add.input if name.endswith(".bias")]
        before = [made_by[name] for name in add.input if name in made_by]
        if biases and before:
            found[biases[0].removesuffix(".bias")] = before[0]
    return found


def _reader(batches: Sequence[Inputs]):
    calibration = Calibration(batches)
    return iter(calibration.get_next, None)


def _plain(source: Path, target: Path) -> Path:
    """A copy without the exporter's notes on shapes, which the tools take for true."""
    model = onnx.load(str(source))
    del model.graph.value_info[:]
    onnx.save(model, str(target))
    return target


def _ascending(errors: dict[str, float]) -> dict[str, float]:
    return dict(sorted(errors.items(), key=lambda item: item[1]))
