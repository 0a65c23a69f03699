"""How the files that peers run are made, each as its users would make it."""

import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime import batching, inference
from tutorial_utils.runtime.session import ERRORS_ONLY

CALIBRATION = {"classifier": 300, "bert-base": 32}  # samples; few random ones are enough
OPTIMUM = Path(f"{sys.prefix.removesuffix('-peers')}-optimum", "bin", "python")  # see the Makefile


class NotExported(TutorialError, RuntimeError):
    """Another tool could not export the model; the message is what it said."""


def load(model: str):
    """The PyTorch model in fp32."""
    from tutorial_utils.models import finetuning

    return {"classifier": finetuning.load, "bert-base": finetuning.bert_base}[model]()


def samples(model: str) -> list[dict[str, np.ndarray]]:
    """What every static quantizer is calibrated on: validation sentences, one by one.

    The BERT-base shape has random weights, so random ids are enough for it.
    """
    if model == "bert-base":
        return [inference.random_inputs(1, 64, seed) for seed in range(CALIBRATION[model])]
    rows = reviews.encode(reviews.splits().validation.texts[: CALIBRATION[model]])
    return [batching.pad([row]) for row in rows]


def _popular(model: str, target: Path) -> None:
    from tutorial_utils.graph import export

    popular(load(model), export.example_inputs(), target)


def popular(module, inputs: dict[str, np.ndarray], target: Path) -> None:
    """As often published: deprecated exporter at opset 17, ONNX Runtime's optimizer, quantize."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

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

    dynamic = OnnxRuntimeDynamicConfig(
        per_channel=True, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
    config = OnnxConfig(dynamic=True, ort_fusions="cpu", quantizer=OnnxRuntimeQuantizer(dynamic))
    _save_exported(model, target, OnnxExporter, config)


def _exporters_openvino(model: str, target: Path) -> None:
    """Transformers' own exporter for OpenVINO; the precision is chosen when it is compiled."""
    from transformers.exporters import OpenVINOConfig, OpenVINOExporter

    _save_exported(model, target, OpenVINOExporter, OpenVINOConfig(dynamic=True))


def _exporters_openvino_int8(model: str, target: Path) -> None:
    """The same with its quantizer, which is nncf's, on the samples of all peers."""
    from transformers.exporters import (
        NNCFOpenVINOQuantizer,
        NNCFQuantizationConfig,
        OpenVINOConfig,
        OpenVINOExporter,
    )

    found = samples(model)
    quantizer = NNCFOpenVINOQuantizer(NNCFQuantizationConfig(subset_size=len(found)), found)
    config = OpenVINOConfig(dynamic=True, quantizer=quantizer)
    _save_exported(model, target, OpenVINOExporter, config)


def _save_exported(model: str, target: Path, exporter: Callable, config) -> None:
    """Export with one of Transformers' exporters, quietly."""
    from tutorial_utils.graph import export

    logging.disable(logging.WARNING)
    exported = exporter().export(load(model), export.example_inputs(), config=config)
    exported.save_pretrained(target.parent)
    logging.disable(logging.NOTSET)


def _openvino(model: str, target: Path) -> None:
    """OpenVINO's converter; the precision is chosen when the file is compiled."""
    import openvino

    openvino.save_model(_converted(model), target, compress_to_fp16=False)


def _converted(model: str):
    import openvino

    from tutorial_utils.graph import export

    return openvino.convert_model(load(model), example_input=export.example_inputs())


def _openvino_int8(model: str, target: Path) -> None:
    """The same, quantized by nncf."""
    import openvino

    openvino.save_model(_quantized(_converted(model), model), target, compress_to_fp16=False)


def _onnx_int8(model: str, target: Path) -> None:
    """The current exporter's ONNX file as it is, quantized by nncf."""
    import onnx

    onnx.save(_quantized(onnx.load(pipeline.ensure("exported", model)), model), target)


def _quantized(plain, model: str):
    """A model of OpenVINO or ONNX with INT8 as nncf recommends it for transformers."""
    import nncf

    found = samples(model)
    return nncf.quantize(
        plain,
        nncf.Dataset(found),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(found),
    )


def _optimum_int8(model: str, target: Path) -> None:
    """optimum-intel's export and quantizer, in their own environment if there is one.

    Raises:
        NotExported: its last words.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, data = Path(scratch, "pytorch"), Path(scratch, "samples.npz")
        load(model).save_pretrained(folder)
        found = enumerate(samples(model))
        np.savez(data, **{f"{name}/{i}": value for i, one in found for name, value in one.items()})
        python = OPTIMUM if OPTIMUM.exists() else sys.executable
        script = Path(__file__).with_name("optimum_export.py")
        done = subprocess.run(
            [python, script, folder, data, target.parent], capture_output=True, text=True
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise NotExported(lines[-1])


def _ours_openvino(model: str, target: Path) -> None:
    """Ours for the OpenVINO provider: attention as it fuses it, the last layer at one position."""
    from tutorial_utils.graph import export, fusion, static

    narrowed = target.with_name("narrowed.onnx")
    export.export(load(model), narrowed, attention="eager")
    fusion.narrow(narrowed, narrowed)
    static.recommended(narrowed, target, samples(model))
    narrowed.unlink()


MAKERS: dict[str, tuple[Callable[[str, Path], None], str]] = {
    "popular": (_popular, "model.onnx"),
    "exporters": (_exporters, "model.onnx"),
    "exporters_openvino": (_exporters_openvino, "openvino_model.xml"),
    "exporters_openvino_int8": (_exporters_openvino_int8, "openvino_model.xml"),
    "openvino": (_openvino, "model.xml"),
    "openvino_int8": (_openvino_int8, "model.xml"),
    "optimum_int8": (_optimum_int8, "openvino_model.xml"),
    "onnx_int8": (_onnx_int8, "model.onnx"),
    "ours_openvino": (_ours_openvino, "model.onnx"),
}
