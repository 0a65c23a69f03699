"""Candidates: peers at one shape, and from text to label, each built in its own process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.engines import Engine, OpenVino, Torch
from tutorial_utils.bench import candidates
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import labelling
from tutorial_utils.runtime import batching, inference

TOGETHER = 32  # texts of a batch for peers without a default; their examples use 32


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
        parts = inference.cut(inference.random_inputs(self.batch, self.length), self.rows)
        return queued(self.engine.compile("THROUGHPUT"), parts)


def queued(compiled, parts: Sequence[dict[str, np.ndarray]]) -> Callable[[], np.ndarray]:
    """A call that runs the parts of a batch in the queue of an OpenVINO model, and joins them."""
    import openvino

    logits: list = [None] * len(parts)

    def keep(request, place: int) -> None:
        logits[place] = request.get_output_tensor().data.copy()

    requests = openvino.AsyncInferQueue(compiled)
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

    engine: OpenVino
    sentences: str = "test"
    items: int = candidates.LABELLING_BATCH
    budget: int | None = None

    def build(self) -> Callable[[], np.ndarray]:
        import openvino

        requests = openvino.AsyncInferQueue(self.engine.compile("THROUGHPUT"))
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
