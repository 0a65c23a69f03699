"""A tiny model of each task, and the right answers to its callers, computed with NumPy."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy import special
from service import SPECIAL, bytes_as_tokens_of_pairs

from tutorial_utils.drift import profile
from tutorial_utils.registry import ModelForm, write_version
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import TASKS

READER = bytes_as_tokens_of_pairs()
READER.enable_truncation(Recipe().max_length)
READ = {
    "single_label": partial(special.softmax, axis=1),
    "multi_label": special.expit,
    "score": special.expit,
}


@dataclass(frozen=True)
class Served:
    """A model to serve. width: numbers in an answer."""

    name: str
    task: str
    labels: tuple[str, ...]
    reads: str = "text"
    width: int = 0

    @property
    def route(self) -> str:
        return "/embed" if self.task == "embedding" else "/predict"

    @property
    def texts(self) -> list:
        """Three texts or pairs, of different lengths, as JSON has them."""
        texts = ["a quiet story", "told with care and wit, until the end", "👩‍👩‍👧 ü\0"]
        return [[text, text[:5] + "?"] for text in texts] if self.reads == "pair" else texts

    def as_read(self, *texts: str) -> list:
        """Texts as the model reads them: alone, or each as the second of a pair."""
        return [["b", text] for text in texts] if self.reads == "pair" else [*texts]

    def table(self, seed: int) -> np.ndarray:
        """A vector for each token, float32 (tokens, width)."""
        size = (256 + len(SPECIAL), self.width or len(self.labels))
        return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)

    def expected(self, texts: Sequence, seed: int = 0) -> np.ndarray:
        """The right answers (texts, width): the mean of tokens, a second text's counted twice."""
        rows = [READER.encode(*([t] if isinstance(t, str) else t)) for t in texts]
        means = [
            np.mean(self.table(seed)[row.ids] * (1 + np.array(row.type_ids))[:, None], axis=0)
            for row in rows
        ]
        return READ.get(self.task, np.array)(np.array(means))

    def told(self, body: dict) -> np.ndarray:
        """The answers in the body of ``/predict`` or ``/embed`` as an array (texts, width)."""
        if self.task == "embedding":
            return np.array(body["embeddings"])
        key = "values" if self.task == "regression" else "probabilities"
        return np.array([[one[key][label] for label in self.labels] for one in body["predictions"]])

    def publish(self, registry: Path, seed: int = 0, normal: Sequence[Text] = ()) -> Path:
        """Write a version whose answers are ``expected``; with a profile of ``normal`` texts."""
        with tempfile.TemporaryDirectory() as scratch:
            model, tokenizer = Path(scratch, "model.onnx"), Path(scratch, "tokenizer.json")
            onnx.save(self.model(seed), model)
            READER.save(str(tokenizer))
            known = None
            if normal:
                known = profile.of_model(
                    model, Recipe(), tokenizer, normal, task=self.task
                ).to_dict()
            return write_version(
                registry, self.name, [ModelForm(model)], tokenizer, self.labels,
                task=self.task, reads=self.reads, profile=known,
                label_spread=[1.0] * len(self.labels) if self.task == "regression" else None,
            )  # fmt: skip

    def model(self, seed: int) -> onnx.ModelProto:
        output = TASKS[self.task].output
        constants = {"table": self.table(seed), "one": np.array([1]), "two": np.array([2])}
        nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["said"]),
            helper.make_node("Add", ["attention_mask", "token_type_ids"], ["count"]),
            helper.make_node("Cast", ["count"], ["weight"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["weight", "two"], ["column"]),
            helper.make_node("Mul", ["said", "column"], ["heard"]),
            helper.make_node("ReduceSum", ["heard", "one"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["real", "one"], ["tokens"], keepdims=1),
            helper.make_node("Div", ["sum", "tokens"], [output]),
        ]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        width = self.table(seed).shape[1]
        answers = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])]
        held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "mean", inputs, answers, held)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


SERVED = {
    served.name: served
    for served in (
        Served("mood", "single_label", ("negative", "positive")),
        Served("topics", "multi_label", ("news", "sport", "art")),
        Served("stars", "regression", ("stars", "length")),
        Served("relevant", "score", ("relevant",)),
        Served("entails", "single_label", ("no", "maybe", "yes"), "pair"),
        Served("duplicate", "score", ("LABEL_0",), "pair"),
        Served("vectors", "embedding", (), width=5),
    )
}
