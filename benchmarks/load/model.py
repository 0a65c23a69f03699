"""How other servers read a version's folder: with ONNX Runtime and tokenizers only."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer


class Model:
    """The same file, tokenizer and session options as in our service. width: fixed padding."""

    def __init__(self, folder: Path, width: int | None = None):
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        recipe, self.labels = manifest["forms"][0]["recipe"], manifest["labels"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        disabled = list(recipe["session"]["disabled_optimizers"])
        self.session = ort.InferenceSession(
            str(folder / "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=disabled,
        )
        self.names = [given.name for given in self.session.get_inputs()]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(width or recipe["max_length"])
        self.tokenizer.enable_padding(length=width)  # without a width: to the longest of a batch

    def predict(self, texts: list[str]) -> list[dict]:
        """The label of each text and its probability, from one run of the model."""
        encodings = self.tokenizer.encode_batch(texts)
        inputs = {
            "input_ids": np.array([e.ids for e in encodings], dtype=np.int64),
            "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64),
            "token_type_ids": np.array([e.type_ids for e in encodings], dtype=np.int64),
        }
        (logits,) = self.session.run(["logits"], {name: inputs[name] for name in self.names})
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = shifted / shifted.sum(axis=1, keepdims=True)
        return [
            {"label": self.labels[best], "probability": float(row[best])}
            for best, row in zip(shares.argmax(axis=1), shares, strict=True)
        ]

    def predict_many(self, requests: list[list[str]]) -> list[dict]:
        """The answers to several requests, all their texts in one run."""
        answers = iter(self.predict([text for texts in requests for text in texts]))
        return [{"predictions": [next(answers) for _ in texts]} for texts in requests]
