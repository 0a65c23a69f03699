"""Plausible wrong answers to the exercises in 01_export."""

import numpy as np
import torch


def _sizes(value):
    return [size.HasField("dim_value") for size in value.type.tensor_type.shape.dim]


def _weights(proto):
    return {weight.name for weight in proto.graph.initializer}


def _export(model, example, target, **how):
    shapes = {name: {0: "batch", 1: "sequence"} for name in example}
    given = {"dynamic_shapes": shapes, "input_names": list(example), "output_names": ["logits"]}
    torch.onnx.export(model, (), kwargs=example, dynamo=True, verbose=False, **given | how).save(
        target
    )


def _legacy(model, example, target):
    torch.onnx.export(
        model,
        (),
        str(target),
        kwargs=example,
        input_names=list(example),
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in example},
        dynamo=False,
    )


WRONG = {
    "01.same": [
        lambda a, b, tolerance: not (abs(a - b) > tolerance).any(),  # NaN passes
        lambda a, b, tolerance: np.allclose(a, b, atol=tolerance),  # relative too; inf equals inf
        lambda a, b, tolerance: bool(abs(a - b).max() <= tolerance),  # broadcasts different shapes
        lambda a, b, tolerance: bool((a - b).max() <= tolerance),  # misses low values
    ],
    "01.fixed_sizes": [
        lambda proto: [v.name for v in proto.graph.input],  # all
        lambda proto: [v.name for v in proto.graph.output if _sizes(v)],  # of the outputs
        lambda proto: [v.name for v in proto.graph.input if all(_sizes(v))],  # all fixed, or none
        lambda proto: sorted(v.name for v in proto.graph.input if any(_sizes(v))),
    ],
    "01.foldable": [
        lambda proto: sum(set(n.input) <= _weights(proto) for n in proto.graph.node),  # one step
        lambda proto: sum(bool(set(n.input) & _weights(proto)) for n in proto.graph.node),  # any
        lambda proto: len(proto.graph.node),
    ],
    "01.export_it": [
        lambda model, example, target: _export(model, example, target, dynamic_shapes=None),
        lambda model, example, target: _export(
            model,
            {"input_ids": example["input_ids"]},
            target,  # no mask
        ),
        lambda model, example, target: target,  # writes nothing
        _legacy,  # what it writes is right, but lesson 02 cannot fuse it
    ],
}
