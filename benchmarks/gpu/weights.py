"""Weights drawn by name from a seed, for PyTorch's model and for a graph that came without them."""

import json
import zlib
from pathlib import Path

import numpy as np
import onnx

KEY = "weights"  # of the graph's metadata: which parameters each initializer is made of


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 parameter of that name: the same values whenever and wherever it is drawn.

    Matrices have the standard deviation of a trained BERT (0.04); a norm's scale is around 1.
    """
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    values = generator.standard_normal(shape, dtype=np.float32)
    if name.endswith("LayerNorm.weight"):
        return 1 + 0.1 * values
    return values * np.float32(0.02 if name.endswith("bias") else 0.04)


def strip(model: onnx.ModelProto, made_of: dict[str, dict]) -> None:
    """Remove the values of the initializers in ``made_of``; note there how to make them again.

    made_of: for each initializer ``parameters`` (pairs of name and shape, concatenated along the
    last axis) and ``transposed`` (each parameter before that).
    """
    for initializer in model.graph.initializer:
        if initializer.name in made_of:
            for field in ("raw_data", "float_data", "int32_data"):
                initializer.ClearField(field)
    model.metadata_props.add(key=KEY, value=json.dumps(made_of))


def fill(graph: Path) -> onnx.ModelProto:
    """Load a graph that was stripped and give every initializer its values."""
    model = onnx.load(graph)
    made_of = json.loads({p.key: p.value for p in model.metadata_props}[KEY])
    for initializer in model.graph.initializer:
        if recipe := made_of.get(initializer.name):
            parts = [draw(name, tuple(shape)) for name, shape in recipe["parameters"]]
            if recipe["transposed"]:
                parts = [part.T for part in parts]
            array = np.concatenate(parts, axis=-1)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(initializer.data_type)
            initializer.raw_data = np.ascontiguousarray(array, dtype=dtype).tobytes()
    return model
