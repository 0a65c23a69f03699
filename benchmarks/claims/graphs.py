"""Claims about files: constants, opsets, fusions, levels, 8 bits and size (2 to 7)."""

import logging
import warnings
from functools import cache
from pathlib import Path

import onnxruntime as ort
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxscript import optimizer as folding

from benchmarks.claims.common import SHORT, folder, ratio, scored
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Onnx
from tutorial_utils.data import reviews
from tutorial_utils.graph import export, inspection, quantization
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import finetuning, labelling
from tutorial_utils.runtime import inference

FINAL = ("EmbedLayerNormalization", "Attention", "SkipLayerNormalization", "BiasGelu")


@cache
def program(opset: int, optimize: bool = True):
    """The classifier as the current exporter translates it."""
    inputs = export.example_inputs()
    with warnings.catch_warnings(), export.quiet_exporter():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            finetuning.load(), (), kwargs=inputs, input_names=list(inputs), output_names=["logits"],
            dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in inputs},
            opset_version=opset, optimize=optimize, dynamo=True, verbose=False,
        )  # fmt: skip


def constants() -> dict:
    raw = program(18, optimize=False)

    def counted() -> tuple[int, int]:
        ops = [node.op_type for node in raw.model.graph]
        return len(ops), len(ops) - ops.count("Constant")

    found = {"raw": counted()}
    folding.fold_constants(raw.model)
    found["folded"] = counted()
    raw.optimize()
    return found | {"optimized": counted()}


def opsets() -> dict:
    files = {opset: folder() / f"opset{opset}.onnx" for opset in (17, 18, 23)}
    for opset, file in files.items():
        program(opset).save(file)
    given = {str(opset): Onnx(file, 1, 24) for opset, file in files.items()}
    found = timer.compare(given, **SHORT)
    return {
        "nodes": {str(opset): inspection.op_counts(file).total() for opset, file in files.items()},
        "17 to 18": ratio(found, "17", "18"),
        "17 to 23": ratio(found, "17", "23"),
    }


def popular(file: Path, level: int | None = None):
    """What ONNX Runtime's own optimizer makes of an exported file."""
    ort.set_default_logger_severity(3)  # it warns against what is tested here
    shape = {"model_type": "bert", "num_heads": 12, "hidden_size": 384}
    return optimizer.optimize_model(str(file), opt_level=level, **shape)


def six_fusions() -> dict:
    legacy = folder() / "legacy.onnx"
    model = finetuning.load()
    model.set_attn_implementation("eager")
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            model, tuple(export.example_inputs().values()), str(legacy),
            input_names=list(export.INPUTS), opset_version=17, dynamo=False,
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in export.INPUTS},
        )  # fmt: skip
    today = popular(pipeline.ensure("exported")).get_fused_operator_statistics()
    before = popular(legacy).get_fused_operator_statistics()
    # LayerNormalization and Gelu become part of other fusions, so only the final ones are counted.
    return {
        "today": {op: today[op] for op in FINAL},
        "deprecated": {op: before[op] for op in FINAL},
    }


def level_99() -> dict:
    exported, saved = pipeline.ensure("exported"), folder() / "level99.onnx"
    popular(exported, level=99).save_model_to_file(str(saved))
    ours = Onnx(pipeline.ensure("fused"), recipe=pipeline.recipe("fused").session)
    given = {"plain": Onnx(exported), "saved": Onnx(saved), "ours": ours}
    found = timer.compare(given, **SHORT)
    return {
        "saved to plain": ratio(found, "saved", "plain"),
        "saved to ours": ratio(found, "saved", "ours"),
        "attention": inspection.op_counts(saved)["Attention"],
    }


def reduced_range() -> dict:
    """The two files differ only in the range, and they label the same batches."""
    texts, fused = reviews.splits().test.texts, pipeline.ensure("fused")
    found = {}
    for name, reduce in (("reduced", True), ("full", False)):
        made = quantization.dynamic(
            fused, folder() / f"{name}.onnx", per_channel=True, reduce_range=reduce
        )
        predict = inference.onnx_predict(made, pipeline.recipe("int8").session)
        found[name] = scored(labelling.label(texts, predict, budget=1024))
    difference, same = found["reduced"]
    return {"f1": difference, "agreement": same, "full range": found["full"][1]}


def sizes() -> dict:
    fp32, listed = pipeline.ensure("fused", "bert-base"), folder() / "listed.onnx"
    logging.disable(logging.WARNING)  # the quantizer suggests a preparation that fails here
    quantize_dynamic(
        fp32, listed, op_types_to_quantize=["MatMul", "Add", "Gemm"], per_channel=True,
        weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1},
    )  # fmt: skip
    logging.disable(logging.NOTSET)
    files = {"fp32": fp32, "listed": listed, "ours": pipeline.ensure("int8", "bert-base")}
    found = {name: inspection.megabytes(file) for name, file in files.items()}
    listed.unlink()
    return found
