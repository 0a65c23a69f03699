"""Solutions to the exercises of 01_export."""

from pathlib import Path

import numpy as np
import onnx
import torch


def same(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """True if both arrays have one shape, are finite, and never differ by more than `tolerance`."""
    if a.shape != b.shape:
        return False  # NumPy would stretch the smaller one
    if not np.isfinite(np.concatenate([a.ravel(), b.ravel()])).all():
        return False
    return bool((np.abs(a - b) <= tolerance).all())


def fixed_sizes(proto: onnx.ModelProto) -> list[str]:
    """Names of the graph's inputs of which a dimension is a number, in the graph's order."""
    return [
        value.name
        for value in proto.graph.input
        if any(size.HasField("dim_value") for size in value.type.tensor_type.shape.dim)
    ]


def foldable(proto: onnx.ModelProto) -> int:
    """How many nodes do not depend on the inputs of the graph."""
    known = {weight.name for weight in proto.graph.initializer} | {""}
    count = 0
    for node in proto.graph.node:
        if all(name in known for name in node.input):
            known.update(node.output)  # nodes that read it may now be foldable too
            count += 1
    return count


def export_it(model: torch.nn.Module, example: dict[str, torch.Tensor], target: Path) -> None:
    """Write a model as ONNX, so that batch and length may vary."""
    torch.onnx.export(
        model,
        (),
        kwargs=example,
        input_names=list(example),
        output_names=["logits"],
        dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in example},
        opset_version=18,
        dynamo=True,
        verbose=False,
    ).save(target)
