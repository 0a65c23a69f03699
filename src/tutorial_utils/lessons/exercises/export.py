"""Exercises of 01_export."""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

from tutorial_utils.lessons.exercises.core import exercise

SHAPES = ((1, 7), (3, 24))  # other than that of the example

_ROW = np.array([[0.5, -1.5], [2.0, 0.25]])
_OFF = np.array([[0.5, -1.5], [2.0, 0.249]])
_NAN = np.array([[0.5, np.nan], [2.0, 0.25]])
_INFINITE = np.array([[0.5, np.inf], [2.0, 0.25]])

exercise(
    "01.same",
    [
        (_ROW, _ROW + 1e-6, 1e-5),
        (_ROW, _OFF, 1e-5),
        (_OFF, _ROW, 1e-5),
        (_ROW, _NAN, 1e-5),
        (_NAN, _NAN, 1e-5),
        (_INFINITE, _INFINITE, 1e-5),
        (np.ones((2, 2)), np.ones((1, 2)), 1e-5),
        (1_000 * _ROW, 1_000 * _ROW + 1e-3, 1e-5),
    ],
    "Ask three questions, one after the other, and say False as soon as one has the wrong answer.",
    "Ask for equal shapes first, then np.isfinite(...).all() of both, then the largest |a − b|.",
    "a.shape == b.shape, np.isfinite(a).all() and np.isfinite(b).all(), then "
    "(np.abs(a - b) <= tolerance).all(); return a bool.",
)


def _graph(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> {text}')


exercise(
    "01.fixed_sizes",
    [
        (_graph(f"g ({inputs}) => (float[N] y) {{ y = Neg(a) }}"),)
        for inputs in (
            "float[N] a, float[N, M] b",
            "float[N] a, float[2, M] b, float[N, 16] c",
            "float[2, 16] b, float[3] a",
            "float a, float[1] c",  # a single number has no dimension
        )
    ],
    "Go through `proto.graph.input`, and look at the dimensions as the cell above does.",
    "A dimension `d` with a name has it in `d.dim_param`; one with a number, in `d.dim_value`.",
    "[v.name for v in proto.graph.input if any(d.dim_value for d in v.type.tensor_type.shape.dim)]",
)

exercise(
    "01.foldable",
    [
        (_graph(f"g (float[2] x) => (float[2] y) <float[2] w = {{1, 2}}, float m = {{1}}> {body}"),)
        for body in (
            "{ a = Mul(w, m)  y = Add(x, a) }",
            "{ a = Neg(w)  b = Neg(a)  c = Add(a, b)  y = Mul(c, x) }",
            "{ a = Neg(x)  y = Neg(a) }",
            "{ c = Constant<value = float[2] {1, 2}>()  a = Neg(c)  y = Add(x, a) }",
            "{ a, b = Split<num_outputs = 2>(w)  c = Add(a, b)  y = Add(x, c) }",
            '{ a = Clip(w, "", m)  y = Add(x, a) }',
        )
    ],
    'Keep a set of known names. It begins with those of the initializers, and with "", the name '
    "of an input that is left out.",
    "When all inputs of a node are in the set, its outputs join the set. A node without inputs, "
    "such as Constant, can be folded too.",
    "for node in proto.graph.node: if all(name in known for name in node.input): "
    "known.update(node.output), and count one.",
)


def _judge_export(answer: Callable) -> str | None:
    """Export two tiny classifiers with it, and compare their files with PyTorch."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from tutorial_utils.graph.export import quiet_exporter

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
    small = {"dim": 32, "n_layers": 1, "n_heads": 2, "vocab_size": 99}
    takes = ["input_ids", "attention_mask", "token_type_ids"]
    for family, settings, names in (("bert", sizes, takes), ("distilbert", small, takes[:2])):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **settings)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "model.onnx")
            with (
                quiet_exporter(),
                contextlib.redirect_stdout(io.StringIO()),  # the exporter tells its progress
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")  # of the exporter, on names of dimensions
                answer(model, _inputs(names, 2, 16), target)
            if wrong := _wrong(model, target, names):
                return f"With a {family} {wrong}"
    return None


def _inputs(names: list[str], batch: int, length: int) -> dict:
    """Random tokens, of which the second half of the first row is padding."""
    import torch

    ids = torch.randint(1, 99, (batch, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, length // 2 :] = 0
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: given[name] for name in names}


def _wrong(model, target: Path, names: list[str]) -> str | None:
    """What is wrong with the file of a model, or None."""
    import torch

    from tutorial_utils.runtime.session import open_session

    if not target.exists():
        return "it writes no file to `target`."
    notes = {note.key for node in onnx.load(target).graph.node for note in node.metadata_props}
    if not any(key.startswith("pkg.torch.onnx") for key in notes):
        return "the file is from the deprecated exporter: leave out `dynamo=False`."
    session = open_session(target)
    if missing := set(names) - {i.name for i in session.get_inputs()}:
        return f"the file has no input {' and no '.join(sorted(missing))}."
    for batch, length in SHAPES:
        given = _inputs(names, batch, length)
        with torch.inference_mode():
            right = model(**given).logits.numpy()
        try:
            (found,) = session.run(["logits"], {k: v.numpy() for k, v in given.items()})
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            return f"the file fails at {batch} × {length}: {str(error).splitlines()[0][:120]}"
        if (off := float(np.abs(found - right).max())) > 1e-4:
            return f"answers at {batch} × {length}, with a padded row, are off by {off:.1e}."
    return None


exercise(
    "01.export_it",
    (),
    "Look at the call of torch.onnx.export at the beginning of this lesson. What in it belongs to "
    "BERT, and what would you take from `example` instead?",
    "input_names are the keys of `example`, and `dynamic_shapes` has an entry for each of them.",
    "torch.onnx.export(model, (), kwargs=example, input_names=list(example), "
    'output_names=["logits"], dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in '
    "example}, dynamo=True).save(target)",
    judge=_judge_export,
)
