"""ONNX files on disk: one file, or the weights beside it where protobuf's limit of 2 GB is near.

The weights of ``NAME.onnx`` are in ``NAME.onnx.data`` then. The graph names that file, so the two
keep their names, and stay in one folder.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from tutorial_utils.core import paths

LARGEST = 1_500_000_000  # bytes of weights in one file; PyTorch's exporter has about the same limit


def load(source: Path) -> ir.Model:
    """The model with all weights in memory, so that it can be written anywhere."""
    return ir.external_data.load_to_model(ir.load(str(source)))


def share_matrices(model: ir.Model) -> int:
    """Keep one of several equal matrices, as of layers that share weights; return how many went.

    ``onnx_ir`` has a pass for all initializers. It would also make one of equal biases, and the
    names of biases are those of the layers.
    """
    known, before = model.graph.initializers, len(model.graph.initializers)
    kept: dict[tuple, ir.Value] = {}
    for name, value in list(known.items()):
        if value.const_value is None or value.const_value.shape.rank() < 2:
            continue
        array = value.const_value.numpy()
        digest = hashlib.sha256(array.tobytes()).digest()
        first = kept.setdefault((array.dtype, array.shape, digest), value)
        if first is not value and not value.is_graph_output():
            value.replace_all_uses_with(first)
            del known[name]
    return before - len(known)


def write(model: onnx.ModelProto, target: Path) -> Path:
    """Write a model, with its weights beside it if they are large; return ``target``."""
    with replacing(target) as temporary:
        large, beside = is_large(size(model)), paths.weights_of(temporary).name
        onnx.save(model, str(temporary), save_as_external_data=large, location=beside)
    return Path(target)


def size(model: onnx.ModelProto) -> int:
    """Bytes of the weights."""
    return sum(tensor.ByteSize() for tensor in model.graph.initializer)


def is_large(weights: int) -> bool:
    """Whether so many bytes of weights are written beside the graph."""
    return weights > LARGEST


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; then move its files to ``target``.

    On an exception ``target`` stays as it was, with its weights.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        temporary = Path(folder, target.name)
        yield temporary
        written = paths.weights_of(temporary)
        if written.exists():
            written.chmod(temporary.stat().st_mode)  # onnx lets nobody else read it
            written.replace(paths.weights_of(target))
        else:
            paths.weights_of(target).unlink(missing_ok=True)
        temporary.replace(target)
