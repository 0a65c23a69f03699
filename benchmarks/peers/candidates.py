"""Candidates: peers at one shape, and from text to label, each built in its own process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.peers import files
from tutorial_utils.bench import candidates
from tutorial_utils.core import machine
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import labelling
from tutorial_utils.runtime import batching, inference
from tutorial_utils.runtime.session import SessionRecipe

Predict = Callable[[dict[str, np.ndarray]], np.ndarray]  # padded inputs of a batch → logits
TOGETHER = 32  # texts of a batch for peers without a default; their examples use 32


class Engine(Protocol):
    """Runs ``classifier`` or ``bert-base``; picklable."""

    model: str

    def prepare(self) -> float:
        """Build missing files; return the size of the weights or the file in MB."""

    def predict(self) -> Predict:
        """Load the model in this process. Call ``prepare`` first."""


@dataclass(frozen=True)
class Torch:
    """PyTorch, eager or compiled for changing shapes, in fp32 or bf16."""

    model: str
    bf16: bool = False
    compiled: bool = False

    def module(self):
        """The model in its precision, not compiled."""
        import torch

        torch.set_num_threads(machine.cores())
        module = files.load(self.model)
        return module.to(torch.bfloat16) if self.bf16 else module

    def prepare(self) -> float:
        return sum(p.numel() * p.element_size() for p in self.module().parameters()) / 1e6

    def predict(self) -> Predict:
        import torch

        module = self.module()
        if self.compiled:
            from torch._inductor import config

            config.compile_threads = 1  # its worker processes would not be suspended between turns
            module = torch.compile(module, dynamic=True)

        def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
                return module(**tensors).logits.float().numpy()

        return predict


@dataclass(frozen=True)
class Ort:
    """A peer's ONNX file in ONNX Runtime with all its optimizations. kind: see ``files``.

    threads: of each batch; 0 is all cores, 1 leaves the other cores to concurrent batches.
    """

    model: str
    kind: str
    threads: int = 0

    def prepare(self) -> float:
        return files.megabytes(files.ensure(self.kind, self.model))

    def predict(self) -> Predict:
        recipe = SessionRecipe(threads=self.threads)
        return inference.onnx_predict(files.path(self.kind, self.model), recipe)


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO on the CPU. precision: ``bf16``, or ``int8`` with OpenVINO's choice for the rest."""

    model: str
    precision: str

    @property
    def kind(self) -> str:
        return "openvino_int8" if self.precision == "int8" else "openvino"

    def prepare(self) -> float:
        return files.megabytes(files.ensure(self.kind, self.model))

    def compile(self, hint: str):
        """The model compiled for ``LATENCY`` or ``THROUGHPUT``."""
        import openvino

        options = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": machine.cores()}
        if self.precision != "int8":
            options["INFERENCE_PRECISION_HINT"] = self.precision
        file = files.path(self.kind, self.model)
        return openvino.Core().compile_model(file, "CPU", options)

    def predict(self) -> Predict:
        request = self.compile("LATENCY").create_infer_request()
        return lambda inputs: request.infer(inputs)[0].copy()


@dataclass(frozen=True)
class Ours:
    """The course's own file of a step, with its recipe."""

    model: str
    step: str

    def prepare(self) -> float:
        from tutorial_utils.graph import inspection

        return inspection.megabytes(pipeline.ensure(self.step, self.model))

    def predict(self) -> Predict:
        recipe = pipeline.recipe(self.step).session
        return inference.onnx_predict(pipeline.ensure(self.step, self.model), recipe)


@dataclass(frozen=True)
class Shape:
    """An engine at one input shape, without padding."""

    engine: Engine
    batch: int
    length: int

    @property
    def items(self) -> int:
        return self.batch

    def build(self) -> Callable[[], object]:
        predict = self.engine.predict()
        inputs = inference.random_inputs(self.batch, self.length)
        return lambda: predict(inputs)


@dataclass(frozen=True)
class Parts(Shape):
    """OpenVINO at one input shape, in parts of ``rows`` rows that its queue runs concurrently."""

    engine: OpenVino
    rows: int

    def build(self) -> Callable[[], object]:
        import openvino

        requests = openvino.AsyncInferQueue(self.engine.compile("THROUGHPUT"))
        parts = inference.cut(inference.random_inputs(self.batch, self.length), self.rows)
        logits: list = [None] * len(parts)

        def keep(request, place: int) -> None:
            logits[place] = request.get_output_tensor().data.copy()

        requests.set_callback(keep)

        def call() -> np.ndarray:
            for place, part in enumerate(parts):
                requests.start_async(part, place)
            requests.wait_all()
            return np.concatenate(logits)

        return call


@dataclass(frozen=True)
class Texts:
    """Sentences from text to label through an engine. sentences, items: see ``Labelling``.

    budget: tokens of a length-sorted batch, as in ours. size: sentences of a batch in their given
    order, padded to the longest. If both are None, sentences run one by one, padded to 128.
    workers: concurrent batches of a budget.
    """

    engine: Engine
    sentences: str = "test"
    items: int = candidates.LABELLING_BATCH
    budget: int | None = None
    size: int | None = None
    workers: int = 1

    def build(self) -> Callable[[], np.ndarray]:
        predict = self.engine.predict()
        texts = labelling.sentences(self.sentences, self.items)
        if self.size is None:
            width = None if self.budget else 128
            how = {"budget": self.budget, "width": width, "workers": self.workers}
            return candidates.OnTexts(lambda some: labelling.label(some, predict, **how), texts)

        def label(some: tuple[str, ...]) -> np.ndarray:
            rows = reviews.encode(some)
            batches = batching.in_order(len(rows), self.size)
            return batching.run(predict, rows, batches).argmax(axis=1)

        return candidates.OnTexts(label, texts)


@dataclass(frozen=True)
class Pipeline:
    """Hugging Face ``pipeline`` in batches of ``size`` in order, its only way to batch."""

    bf16: bool = False
    sentences: str = "test"
    items: int = candidates.LABELLING_BATCH
    size: int = TOGETHER

    def build(self) -> Callable[[], np.ndarray]:
        from transformers import AutoTokenizer
        from transformers import pipeline as transformers_pipeline

        texts = labelling.sentences(self.sentences, self.items)
        tokenizer = AutoTokenizer.from_pretrained(pipeline.ensure("pytorch"))
        module = Torch("classifier", self.bf16).module()
        answer = transformers_pipeline(
            "text-classification", model=module, tokenizer=tokenizer, device="cpu"
        )
        positive = reviews.LABELS[1]

        def label(some: tuple[str, ...]) -> np.ndarray:
            answers = answer(list(some), batch_size=self.size)
            return np.array([a["label"] == positive for a in answers])

        return candidates.OnTexts(label, texts)


@dataclass(frozen=True)
class SentenceTransformers:
    """sentence-transformers with the classifier's head as its last modules; sorts by length.

    Its CrossEncoder would be closer, but takes only pairs. backend: ``torch``, ``onnx``.
    """

    bf16: bool = False
    backend: str = "torch"
    sentences: str = "test"
    items: int = candidates.LABELLING_BATCH
    size: int = TOGETHER

    def build(self) -> Callable[[], np.ndarray]:
        import torch
        from sentence_transformers import SentenceTransformer, models

        folder = str(pipeline.ensure("pytorch"))
        encoder = models.Transformer(folder, backend=self.backend)
        classifier = Torch("classifier").module()
        width = classifier.config.hidden_size
        pooler = models.Dense(width, width, activation_function=torch.nn.Tanh())
        pooler.linear.load_state_dict(classifier.bert.pooler.dense.state_dict())
        head = models.Dense(width, len(reviews.LABELS), activation_function=torch.nn.Identity())
        head.linear.load_state_dict(classifier.classifier.state_dict())
        modules = [encoder, models.Pooling(width, "cls"), pooler, head]
        model = SentenceTransformer(modules=modules, device="cpu")
        if self.bf16:
            model = model.to(torch.bfloat16)
        texts = labelling.sentences(self.sentences, self.items)

        def label(some: tuple[str, ...]) -> np.ndarray:
            logits = model.encode(
                list(some), batch_size=self.size, show_progress_bar=False, convert_to_tensor=True
            )
            return logits.float().numpy().argmax(axis=1)

        return candidates.OnTexts(label, texts)


@dataclass(frozen=True)
class OpenVinoQueue:
    """OpenVINO's own way to run many inputs: its queue of concurrent requests.

    (Requests of one model that are called from two Python threads can deadlock.)
    budget: tokens of a length-sorted batch; None: one text a request, so no padding.
    """

    precision: str
    sentences: str = "test"
    items: int = candidates.LABELLING_BATCH
    budget: int | None = None

    def build(self) -> Callable[[], np.ndarray]:
        import openvino

        requests = openvino.AsyncInferQueue(
            OpenVino("classifier", self.precision).compile("THROUGHPUT")
        )
        texts = labelling.sentences(self.sentences, self.items)
        labels = np.zeros(len(texts), dtype=np.int64)

        def keep(request, places: list[int]) -> None:
            labels[places] = request.get_output_tensor().data.argmax(axis=1)

        requests.set_callback(keep)

        def label(some: tuple[str, ...]) -> np.ndarray:
            rows = reviews.encode(some)
            batches = batching.in_order(len(rows), 1)
            if self.budget:
                batches = batching.by_tokens([len(row) for row in rows], self.budget)
            for places in batches:
                requests.start_async(batching.pad([rows[i] for i in places]), places)
            requests.wait_all()
            return labels[: len(some)].copy()

        return candidates.OnTexts(label, texts)
