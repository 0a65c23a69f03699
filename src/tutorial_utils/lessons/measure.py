"""One step of the course measured beside the one before it: the row that goes into the ledger."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from tutorial_utils import quality
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Labelling, Onnx, Torch
from tutorial_utils.core import hashing, machine, paths, provenance
from tutorial_utils.data import reviews
from tutorial_utils.graph import inspection
from tutorial_utils.lessons import ledger, pipeline
from tutorial_utils.models.labelling import label
from tutorial_utils.models.torch_inference import torch_predict
from tutorial_utils.runtime.inference import onnx_predict

ONE_BY_ONE = 20  # texts a call where each is padded and run alone: all take the same time
TOGETHER = 500  # texts a call where they are sorted and batched
REVIEWS = 500  # of products: texts of a kind that no step is scored on


def latency_candidate(step: str, batch: int = 1, length: int = 128) -> timer.Candidate:
    """A step at the BERT-base shape; a batch over its token budget runs in parts, in parallel."""
    if step == "pytorch":
        return Torch("bert-base", batch, length)
    path, recipe = pipeline.ensure(step, "bert-base"), pipeline.recipe(step)
    rows = max(1, recipe.token_budget // length)
    if recipe.workers == 1 or batch <= rows:
        return Onnx(path, batch, length, recipe.session)
    return Onnx(path, batch, length, recipe.in_bulk(), rows, recipe.workers)


def labelling_candidate(step: str) -> Labelling:
    """A step on real sentences: one by one, padded to 128, until ``tuned`` batches them."""
    path = None if step == "pytorch" else pipeline.ensure(step)
    recipe = pipeline.recipe(step)
    if step == "tuned":
        session, budget = recipe.in_bulk(), recipe.token_budget
        return Labelling(path, session, budget, None, _pace(TOGETHER), recipe.workers)
    return Labelling(path, recipe.session, items=_pace(ONE_BY_ONE))


def sentences() -> reviews.Reviews:
    """The test sentences that a step is scored on: all, or a few with TUTORIAL_PACE=quick."""
    test = reviews.splits().test
    return test.take(range(_pace(len(test))))


def _pace(texts: int) -> int:
    """A quarter of the texts with TUTORIAL_PACE=quick, which only checks that lessons run."""
    return texts // 4 if os.environ.get("TUTORIAL_PACE") == "quick" else texts


def predictions(step: str, first: int | None = None) -> np.ndarray:
    """Labels that a step's classifier gives the ``first`` test sentences, or all: int64 (n,)."""
    if step == "pytorch":
        return _kept(_answers_of_pytorch)[:first]
    recipe, texts = pipeline.recipe(step), reviews.splits().test.texts[:first]
    predict = onnx_predict(pipeline.ensure(step), recipe.in_bulk())
    return label(texts, predict, budget=recipe.token_budget, workers=recipe.workers)


def product_reviews() -> tuple[tuple[str, ...], np.ndarray]:
    """Texts of another kind than the test sentences, and the labels that PyTorch gives them."""
    few = slice(_pace(REVIEWS))
    return _product_reviews()[few], _kept(_product_answers_of_pytorch)[few]


def _kept(make: Callable[[], np.ndarray]) -> np.ndarray:
    """Answers of PyTorch, which others are compared with; stored until weights or code change."""
    weights = hashing.sha256(pipeline.ensure("pytorch") / "model.safetensors")
    made_by = f"{weights}{provenance.of(make)}".encode()
    name = hashlib.sha256(made_by).hexdigest()[:16]
    kept = paths.home() / "models" / f"pytorch-answers-{name}.npy"
    if not kept.exists():
        with paths.replacing(kept) as temporary:
            np.save(temporary, make())
    return np.load(kept)


def _answers_of_pytorch() -> np.ndarray:
    budget = pipeline.recipe("pytorch").token_budget
    return label(reviews.splits().test.texts, torch_predict("classifier"), budget=budget)


def _product_reviews() -> tuple[str, ...]:
    return reviews.load("amazon").texts[:REVIEWS]


def _product_answers_of_pytorch() -> np.ndarray:
    budget = pipeline.recipe("pytorch").token_budget
    return label(_product_reviews(), torch_predict("classifier"), budget=budget)


def evaluate(step: str) -> quality.Quality:
    """Quality of a step on ``sentences()``, against PyTorch's answers; of PyTorch itself on all."""
    test = reviews.splits().test if step == "pytorch" else sentences()
    predicted, reference = (predictions(name, len(test)) for name in (step, "pytorch"))
    return quality.evaluate(predicted, test.labels, reference)


def row(step: str, rounds: int = 7, seconds: float = 0.4) -> ledger.Row:
    """Measure ``step`` beside PyTorch and the step before it. See ``ledger.record`` to keep it.

    All three take turns: a machine that slows down meanwhile slows all of them, so ratios are
    reliable where milliseconds are not.

    Raises:
        UnknownStep: there is no such step.
    """
    position = pipeline.position(step)
    before = pipeline.STEPS[max(0, position - 1)]
    names = dict.fromkeys(("pytorch", before, step))  # without repeats, in this order
    compare = partial(timer.compare, rounds=rounds, seconds=seconds)
    latency = compare({name: latency_candidate(name) for name in names})
    texts = {name: labelling_candidate(name) for name in names}
    labelling = compare(texts, warmup=1, minimum_calls=1)
    scores = evaluate(step)
    assert scores.agreement is not None  # ``evaluate`` compares with PyTorch
    measured = ledger.Row(
        step=step,
        position=position,
        latency_ms=latency.timings[step].p50_ms,
        texts_per_s=labelling.timings[step].items_per_s,
        size_mb=size_mb(step),
        f1=scores.score,
        agreement=scores.agreement,
        machine=str(machine.describe()),
        versions=machine.describe().versions,
    )
    if step == "pytorch":
        return measured
    return replace(
        measured,
        latency=latency.verdicts[step],
        labelling=labelling.verdicts[step],
        latency_verdict=latency.verdict(step, before).word,
        throughput_verdict=labelling.verdict(step, before).word,
    )


def size_mb(step: str) -> float:
    """Size of the BERT-base shape in MB: the ONNX file, or PyTorch's fp32 weights."""
    if step != "pytorch":
        return inspection.megabytes(pipeline.ensure(step, "bert-base"))
    from tutorial_utils.models import finetuning

    return sum(p.numel() * p.element_size() for p in finetuning.bert_base().parameters()) / 1e6
