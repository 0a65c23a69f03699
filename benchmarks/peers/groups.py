"""Which peers are measured, and how each batches its sentences."""

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.common import no_bf16
from benchmarks.peers.candidates import (
    TOGETHER,
    OpenVinoQueue,
    Pipeline,
    SentenceTransformers,
    Texts,
)
from benchmarks.peers.engines import Engine, OpenVino, Ort, Ours, Torch
from benchmarks.peers.targets import OURS, OURS_OPENVINO, PADDED, PYTORCH, engine_of, is_ours
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Labelling
from tutorial_utils.lessons import measure, pipeline

STEP = {"ours fp32": "fused", OURS: "tuned"}  # on the CPU provider
LARGE = 2_048  # tokens of a batch on all cores, which suits OpenVINO


def engines(model: str) -> dict[str, Engine]:
    """All engines that run ``classifier`` or ``bert-base``; the reference is first."""
    return {
        PYTORCH: Torch(model),
        "PyTorch bf16": Torch(model, bf16=True),
        "torch.compile fp32": Torch(model, compiled=True),
        "torch.compile bf16": Torch(model, bf16=True, compiled=True),
        "popular recipe": Ort(model, "popular"),
        "transformers.exporters int8": Ort(model, "exporters"),
        "transformers.exporters OpenVINO bf16": OpenVino(model, "exporters_openvino", "bf16"),
        "transformers.exporters OpenVINO int8": OpenVino(model, "exporters_openvino_int8"),
        "OpenVINO bf16": OpenVino(model, "openvino", "bf16"),
        "OpenVINO int8": OpenVino(model, "openvino_int8"),
        "optimum-intel int8": OpenVino(model, "optimum_int8"),
        "OpenVINO int8 from ONNX": OpenVino(model, "onnx_int8"),
        "ONNX Runtime + OpenVINO int8": Ort(model, "onnx_int8", provider="openvino"),
        "ours fp32": Ours(model, STEP["ours fp32"]),
        OURS: Ours(model, STEP[OURS]),
        OURS_OPENVINO: Ort(model, "ours_openvino", provider="openvino"),
    }


def with_our_batching() -> dict[str, timer.Candidate]:
    """Every engine with length-sorted batches of our token budget.

    If ours runs concurrent batches, peers that can do the same are also measured that way.
    What runs on OpenVINO is also measured with ``LARGE`` batches, ours and peers alike.
    """
    ours = replace(measure.labelling_candidate(STEP[OURS]), sentences="all")
    found: dict[str, timer.Candidate] = {}
    for name, engine in engines("classifier").items():
        if name == OURS:
            found[name] = ours
        elif step := STEP.get(name):
            recipe = pipeline.recipe(step).session
            found[name] = replace(ours, path=pipeline.ensure(step), recipe=recipe, workers=1)
        else:
            found[name] = Texts(engine, "all", budget=ours.budget)
            concurrent = _concurrent(engine, ours)
            if concurrent and ours.workers > 1:
                found[f"{name}, {ours.workers} at a time"] = concurrent
            if _on_openvino(engine):
                found[f"{name}, {LARGE:,} tokens"] = Texts(engine, "all", budget=LARGE)
    return found


def left_out(candidates: Mapping[str, object]) -> dict[str, str]:
    """Engines and candidates of PyTorch in bf16, with the reason, where it is not worth the time.

    OpenVINO computes in fp32 by itself where bf16 would not pay.
    """
    reason = no_bf16()
    halves = (n for n, one in candidates.items() if getattr(getattr(one, "engine", one), "bf16", 0))
    return {engine_of(name): reason for name in halves} if reason else {}


def _concurrent(engine: Engine, ours: Labelling) -> timer.Candidate | None:
    """The engine with concurrent batches like ours, or None if it has no way to do that."""
    if isinstance(engine, OpenVino):
        return OpenVinoQueue(engine, ours.sentences, budget=ours.budget)
    if isinstance(engine, Ort) and engine.provider == "cpu":
        alone = replace(engine, threads=1)
        return Texts(alone, ours.sentences, budget=ours.budget, workers=ours.workers)
    return None


def _on_openvino(engine: Engine) -> bool:
    return isinstance(engine, OpenVino) or getattr(engine, "provider", "") == "openvino"


def own() -> dict[str, timer.Candidate]:
    """Every peer with its own best batching; the first is the reference."""
    every = engines("classifier")
    batches = f"batches of {TOGETHER}"
    found: dict[str, timer.Candidate] = {PADDED: Texts(every[PYTORCH], "all", measure.ONE_BY_ONE)}
    for name, engine in every.items():
        if name == "popular recipe":
            found[f"{name}, one by one, padded to 128"] = Texts(engine, "all", measure.ONE_BY_ONE)
        elif not is_ours(name):
            found[f"{name}, {batches}"] = Texts(engine, "all", size=TOGETHER)
        if isinstance(engine, OpenVino):
            found[f"{name}, its queue"] = OpenVinoQueue(engine, "all")
    for precision, bf16 in (("fp32", False), ("bf16", True)):
        found[f"pipeline {precision}, {batches}"] = Pipeline(bf16, "all")
        sorting = f"sentence-transformers {precision}, sorted, {batches}"
        found[sorting] = SentenceTransformers(bf16, sentences="all")
    found["sentence-transformers ONNX"] = SentenceTransformers(backend="onnx", sentences="all")
    found[OURS] = replace(measure.labelling_candidate(STEP[OURS]), sentences="all")
    found[f"{OURS_OPENVINO}, {LARGE:,} tokens"] = Texts(every[OURS_OPENVINO], "all", budget=LARGE)
    return found


def one_by_one(candidate: timer.Candidate) -> bool:
    """Whether each sentence is padded to 128 and run alone; then a few sentences are enough."""
    return isinstance(candidate, Texts) and candidate.size is None and candidate.budget is None
