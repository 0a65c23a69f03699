"""The files that peers run: built once, as their users would build them, and cached."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from tutorial_utils.core import hashing, machine, paths
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime import inference
from tutorial_utils.runtime.session import ERRORS_ONLY

CALIBRATION = {"classifier": 300, "bert-base": 32}  # samples; few random ones are enough
_MADE_BY = ("torch", "transformers", "onnx", "onnxruntime-gpu", "openvino", "nncf")


def ensure(kind: str, model: str) -> Path:
    """Path of a peer's file for ``classifier`` or ``bert-base``; built if it is missing.

    kind: a key of ``MAKERS``. Everything is built again when weights, versions or this file change.
    """
    folder = paths.home() / "peers" / model
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", is_singleton=True):  # one file may be built from another
        stamp, record = _stamp(model), folder / "stamp.json"
        if not record.exists() or json.loads(record.read_text()) != stamp:
            shutil.rmtree(folder)
            folder.mkdir()
            record.write_text(json.dumps(stamp))
        target = path(kind, model)
        if not target.exists():
            scratch = folder / f"{kind}-incomplete"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                MAKERS[kind][0](model, scratch / target.name)
            scratch.rename(target.parent)
    return target


def path(kind: str, model: str) -> Path:
    """Where ``ensure`` puts a file. Nothing is built or loaded."""
    return paths.home() / "peers" / model / kind / MAKERS[kind][1]


def megabytes(file: Path) -> float:
    """Size of a file in MB, including its separate file of weights if it has one."""
    files = {file, file.with_suffix(".bin"), file.with_name(f"{file.name}.data")}
    return sum(part.stat().st_size for part in files if part.exists()) / 1e6


def load(model: str):
    """The PyTorch model in fp32."""
    from tutorial_utils.models import finetuning

    return {"classifier": finetuning.load, "bert-base": finetuning.bert_base}[model]()


def _stamp(model: str) -> dict:
    weights = pipeline.ensure("pytorch") / "model.safetensors"
    return {
        "source": hashing.sha256(weights) if model == "classifier" else model,
        "code": hashing.sha256(Path(__file__)),
        "versions": {name: machine.version(name) for name in _MADE_BY},
    }


def _popular(model: str, target: Path) -> None:
    """As often published: deprecated exporter at opset 17, ONNX Runtime's optimizer, quantize."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    from tutorial_utils.graph import export

    module = load(model)
    inputs = export.example_inputs()
    exported, optimized = target.with_name("exported.onnx"), target.with_name("optimized.onnx")
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        str(exported),
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in inputs},
        do_constant_folding=True,
        opset_version=17,
        dynamo=False,
    )
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    optimizer.optimize_model(
        str(exported),
        model_type="bert",
        num_heads=module.config.num_attention_heads,
        hidden_size=module.config.hidden_size,
        optimization_options=FusionOptions("bert"),
        opt_level=99,
    ).save_model_to_file(str(optimized))
    quantize_dynamic(
        optimized,
        target,
        op_types_to_quantize=["MatMul", "Add", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": 1},  # float; fused operators hide their types
    )
    logging.disable(logging.NOTSET)
    exported.unlink()
    optimized.unlink()


def _exporters(model: str, target: Path) -> None:
    """Transformers' own exporter, with its fusions for ONNX Runtime and its quantizer."""
    from onnxruntime.quantization import QuantType
    from transformers.exporters import (
        OnnxConfig,
        OnnxExporter,
        OnnxRuntimeDynamicConfig,
        OnnxRuntimeQuantizer,
    )

    from tutorial_utils.graph import export

    logging.disable(logging.WARNING)
    dynamic = OnnxRuntimeDynamicConfig(
        per_channel=True, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
    config = OnnxConfig(dynamic=True, ort_fusions="cpu", quantizer=OnnxRuntimeQuantizer(dynamic))
    exported = OnnxExporter().export(load(model), export.example_inputs(), config=config)
    exported.save_pretrained(target.parent)
    logging.disable(logging.NOTSET)


def _openvino(model: str, target: Path) -> None:
    """OpenVINO's converter; the precision is chosen when the file is compiled."""
    import openvino

    from tutorial_utils.graph import export

    converted = openvino.convert_model(load(model), example_input=export.example_inputs())
    openvino.save_model(converted, target, compress_to_fp16=False)


def _openvino_int8(model: str, target: Path) -> None:
    """OpenVINO's quantizer, calibrated on validation sentences (BERT-base shape: on random ids)."""
    import nncf
    import openvino

    if model == "classifier":
        from tutorial_utils.runtime import batching

        rows = reviews.encode(reviews.splits().validation.texts[: CALIBRATION[model]])
        samples = [batching.pad([row]) for row in rows]
    else:
        samples = [inference.random_inputs(1, 64, seed) for seed in range(CALIBRATION[model])]
    plain = openvino.Core().read_model(ensure("openvino", model))
    quantized = nncf.quantize(
        plain,
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )
    openvino.save_model(quantized, target, compress_to_fp16=False)


MAKERS: dict[str, tuple[Callable[[str, Path], None], str]] = {
    "popular": (_popular, "model.onnx"),
    "exporters": (_exporters, "model.onnx"),
    "openvino": (_openvino, "model.xml"),
    "openvino_int8": (_openvino_int8, "model.xml"),
}
