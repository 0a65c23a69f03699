"""The other tools' side of ``coming_from``; it runs in their environment, without this package.

``python coming_from_tools.py FOLDER CLASSIFIER ENCODER`` writes, for each file that a tool makes,
its answers to ``FOLDER/texts.json`` and its size.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
from sentence_transformers import (
    SentenceTransformer,
    export_dynamic_quantized_onnx_model,
    models,
)
from transformers import PreTrainedTokenizerFast

SPECIAL = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}


def main(folder: Path, classifier: Path, encoder: Path) -> None:
    texts = json.loads((folder / "texts.json").read_text())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(classifier / "tokenizer.json"), model_max_length=512, **SPECIAL
    )

    def answers(model) -> np.ndarray:
        given = (tokenizer(text, return_tensors="pt") for text in texts)  # alone, so no padding
        with torch.inference_mode():
            return np.concatenate([np.asarray(model(**one).logits) for one in given])

    def keep(name: str, values: np.ndarray, file: Path) -> None:
        np.save(folder / f"{name}.npy", values)
        (folder / f"{name}.size").write_text(str(file.stat().st_size))

    exported = ORTModelForSequenceClassification.from_pretrained(classifier, export=True)
    exported.save_pretrained(folder / "optimum")
    keep("classifier-Optimum-fp32", answers(exported), folder / "optimum" / "model.onnx")
    config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    quantizer = ORTQuantizer.from_pretrained(folder / "optimum", file_name="model.onnx")
    quantizer.quantize(save_dir=folder / "optimum-int8", quantization_config=config)
    eight = ORTModelForSequenceClassification.from_pretrained(folder / "optimum-int8")
    keep("classifier-Optimum-INT8", answers(eight), next((folder / "optimum-int8").glob("*.onnx")))

    bare = folder / "encoder-checkpoint"
    bare.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((encoder / name).read_bytes())
    tokenizer.save_pretrained(bare)
    transformer = models.Transformer(str(bare), max_seq_length=512)
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), "mean")
    whole = folder / "sentence-transformer"
    SentenceTransformer(modules=[transformer, pooling, models.Normalize()]).save(str(whole))
    onnx = SentenceTransformer(str(whole), backend="onnx", model_kwargs={"export": True})
    onnx.save_pretrained(str(whole))
    keep("encoder-sentence-transformers-fp32", onnx.encode(texts), whole / "onnx" / "model.onnx")
    export_dynamic_quantized_onnx_model(onnx, "avx512_vnni", str(whole))
    small = next((whole / "onnx").glob("*qint8*.onnx"))
    eight = SentenceTransformer(
        str(whole), backend="onnx", model_kwargs={"file_name": f"onnx/{small.name}"}
    )
    keep("encoder-sentence-transformers-INT8", eight.encode(texts), small)
    names = ("optimum-onnx", "sentence-transformers", "transformers", "onnxruntime")
    (folder / "versions.txt").write_text(", ".join(f"{n} {version(n)}" for n in names))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
