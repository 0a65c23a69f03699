"""A BERT classifier, made fast: from a folder of save_pretrained to a fused INT8 session.

    python fast_bert.py MODEL_FOLDER model.onnx "A joy from start to finish." "Dull."

It writes model.onnx and labels the texts. The whole recipe is in this file: take it with you. It
needs torch, transformers, onnxscript, onnxruntime and numpy (see pyproject.toml for versions that
work together). Why each line is as it is: lessons 01 to 04.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter.ort_fusions import optimize_for_ort
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BUDGET = 1024  # tokens of a batch, padding included


def export(folder: Path) -> ir.Model:
    """The model as ONNX, with any batch and any length (lesson 01)."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = {name: torch.ones(2, 16, dtype=torch.int64) for name in names}
    program = torch.onnx.export(
        model,
        (),
        kwargs=example,
        input_names=names,
        output_names=["logits"],
        dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in names},
        opset_version=18,  # the quantizer does not know the Attention of opset 23
        dynamo=True,
        verbose=False,
    )
    return program.model


def fuse(model: ir.Model) -> ir.Model:
    """Fuse attention and more, in the form that the quantizer accepts (lesson 02)."""
    model, _ = optimize_for_ort(model)
    # The quantizer takes constant weights only, so the packed ones are computed now.
    fold_constants(model, input_size_limit=2**31, output_size_limit=2**31)
    (given,) = [value for value in model.graph.inputs if value.name == "attention_mask"]
    cast = ir.node("Cast", [given], {"to": ir.DataType.INT32})
    cast.outputs[0].name = "mask_int32"
    model.graph.insert_before(model.graph[0], cast)
    for node in model.graph:
        if node.op_type == "Attention":  # a padding mask instead of a bias made from it
            node.attributes.pop("qkv_hidden_sizes", None)
            node.replace_input_with(3, cast.outputs[0])
            node.resize_inputs(4)
    RemoveUnusedNodesPass()(model)
    return model


def quantize(model: ir.Model, target: Path) -> None:
    """Write the model with weights in 8 bits (lesson 03)."""
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]  # shapes from before the fusions mislead the quantizer
    quantize_dynamic(
        proto,
        target,
        op_types_to_quantize=["MatMul", "Attention", "Gemm", "Gather"],  # Gather: the embeddings
        per_channel=True,
        weight_type=QuantType.QInt8,  # x86 has fast products of u8 and s8
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def session(path: Path, threads: int = 0) -> ort.InferenceSession:
    """Open a file with the options that lesson 04 measures. threads: one a core by default."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, ["CPUExecutionProvider"])


def batches(lengths: Sequence[int], budget: int = BUDGET) -> list[list[int]]:
    """Indices of texts of similar length, at most ``budget`` tokens together (lesson 04)."""
    made: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if made and (len(made[-1]) + 1) * lengths[i] <= budget:
            made[-1].append(i)
        else:
            made.append([i])
    return made


def logits(opened: ort.InferenceSession, tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Logits of each text, in the order of the texts."""
    rows = tokenizer(list(texts), truncation=True)["input_ids"]
    answers: list[np.ndarray] = [np.empty(0)] * len(rows)
    for batch in batches([len(row) for row in rows]):
        padded = tokenizer.pad({"input_ids": [rows[i] for i in batch]}, return_tensors="np")
        given = {name: padded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        given["token_type_ids"] = np.zeros_like(given["input_ids"])
        for i, answer in zip(batch, opened.run(["logits"], given)[0], strict=True):
            answers[i] = answer
    return np.stack(answers)


def main(folder: str, target: str, *texts: str) -> None:
    """Write the file, and label the texts with it."""
    quantize(fuse(export(Path(folder))), Path(target))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, row in zip(texts, logits(session(Path(target)), tokenizer, texts), strict=True):
        print(row.argmax(), text)


if __name__ == "__main__":
    main(*sys.argv[1:])
