"""Ours beside everything a user would take instead, in one run.

``python benchmarks/peers.py [shapes] [texts] [growth]``; all when none is named, and ``report`` to
draw again what was measured. ``--quick`` tries everything with little effort, for development.
Run it on a quiet machine: ``make peers``. Each stage keeps what it measured in
``results/peers.json`` when it ends, so a later one that fails costs nothing.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from apart import Crashed, apart
from common import RESULTS, write_json
from peer_candidates import (
    TOGETHER,
    Engine,
    OpenVino,
    OpenVinoQueue,
    Ort,
    Pipeline,
    Predict,
    SentenceTransformers,
    Shape,
    Texts,
    Torch,
)
from peer_report import draw
from peer_targets import OURS, PADDED, PYTORCH, best_peer, is_ours

from tutorial_utils import (
    batching,
    benchmark,
    candidates,
    graph,
    machine,
    measure,
    quality,
    reviews,
    roofline,
    steps,
)

SHAPES = ((1, 24), (1, 128), (8, 128))
STEP = {"ours fp32": "fused", OURS: "tuned"}
VERSIONS = ("openvino", "nncf", "sentence-transformers")
MANY = 100_000


@dataclass(frozen=True)
class Effort:
    """How long is measured: rounds of each comparison, sentences a call, sentences of growth."""

    rounds: int = 7
    rounds_texts: int = 3
    some: int = 500
    everything: int = 10_000
    many: int = MANY
    checked: int = reviews.TEST_SENTENCES


QUICK = Effort(2, 2, 100, 400, 2_000, 200)


@dataclass(frozen=True)
class Ours:
    """The series' own file of a step, with its recipe."""

    model: str
    step: str

    def prepare(self) -> float:
        return graph.megabytes(steps.ensure(self.step, self.model))

    def predict(self) -> Predict:
        recipe = steps.recipe(self.step).session
        return candidates.onnx_predict(steps.ensure(self.step, self.model), recipe)


def engines(model: str) -> dict[str, Engine]:
    """Everything that runs ``classifier`` or ``bert-base``, the reference first."""
    return {
        PYTORCH: Torch(model),
        "PyTorch bf16": Torch(model, bf16=True),
        "torch.compile fp32": Torch(model, compiled=True),
        "torch.compile bf16": Torch(model, bf16=True, compiled=True),
        "popular recipe": Ort(model, "popular"),
        "transformers.exporters int8": Ort(model, "exporters"),
        "OpenVINO bf16": OpenVino(model, "bf16"),
        "OpenVINO int8": OpenVino(model, "int8"),
        "ours fp32": Ours(model, STEP["ours fp32"]),
        OURS: Ours(model, STEP[OURS]),
    }


def shapes(effort: Effort) -> dict:
    """BERT-base with seeded weights at three shapes; checks of size and logits come first."""
    found: dict = {"checks": {}, "failed": {}, "comparisons": {}}
    running, reference = {}, None
    for name, engine in engines("bert-base").items():
        try:
            size, logits = apart(_logits, engine)
        except Crashed as crash:
            found["failed"][name] = str(crash)
            continue
        running[name] = engine
        reference = logits if reference is None else reference
        spread = float(np.abs(reference).max())
        difference = float(np.abs(logits - reference).max())
        found["checks"][name] = {"size_mb": size, "difference": difference / spread}
        print(f"{name}: {size:.0f} MB, logits differ by {difference / spread:.1e}", flush=True)
    for batch, length in SHAPES:
        timed = {
            name: measure.latency_candidate(STEP[name], batch, length)
            if is_ours(name)
            else Shape(engine, batch, length)
            for name, engine in running.items()
        }
        result = compare(
            timed,
            found["failed"],
            rounds=effort.rounds,
            seconds=0.3,
            minimum_calls=1 if batch > 1 else 3,
        )
        found["comparisons"][f"{batch} × {length}"] = asdict(result)
        print(f"## {batch} × {length}\n{result.table()}", flush=True)
    found["roof_share"] = _roof_share(found["comparisons"]["8 × 128"])
    return found


def _logits(engine: Engine) -> tuple[float, np.ndarray]:
    """Size in MB, and logits on seeded inputs with padding."""
    size, predict = engine.prepare(), engine.predict()
    ids = candidates.random_inputs(4, 48)["input_ids"]
    rows = [row[:length] for row, length in zip(ids, (48, 31, 24, 5), strict=True)]
    return size, np.asarray(predict(batching.pad(rows)), dtype=np.float32)


def _roof_share(comparison: dict) -> float | None:
    """Share of the u8×s8 roof that ours reaches, the roof measured in this run."""
    kind = "u8×s8"
    roof = roofline.roofs(kinds=(kind,)).operations.get(kind)
    if roof is None or OURS not in comparison["timings"]:
        return None
    work = roofline.work(steps.ensure("int8", "bert-base"), 8, 128)
    return roofline.share(work.operations, comparison["timings"][OURS]["p50_ms"], roof)


def texts(effort: Effort) -> dict:
    """Real sentences from text to label: peers' own batching, ours for all, and the finalists."""
    found: dict = {"checks": {}, "failed": {}, "comparisons": {}}
    own, same = _own(), _with_our_batching()
    reference = measure.predictions("pytorch")[: effort.checked]
    truth = reviews.splits().test.labels[: effort.checked]
    for name, candidate in (same | own).items():
        if name == PADDED:  # PyTorch with our batching answers for it, in a tenth of the time
            continue
        if isinstance(candidate, Texts) and name in own and _engine_of(name) in found["checks"]:
            continue  # the same file as with our batching
        try:
            labels = apart(_labels, replace(candidate, sentences="test", items=effort.checked))
        except Crashed as crash:
            found["failed"][name] = str(crash)
            continue
        score = quality.evaluate(np.asarray(labels, dtype=np.int64), truth, reference)
        found["checks"][name] = asdict(score)
        print(f"{name}: {score}", flush=True)
    for key, group, items in (("own", own, effort.some), ("ours", same, 2 * effort.some)):
        running = {
            name: candidate if name == PADDED else replace(candidate, items=items)
            for name, candidate in group.items()
            if name not in found["failed"] and _engine_of(name) not in found["failed"]
        }
        result = compare(running, found["failed"], rounds=effort.rounds_texts + 1, **BULK)
        found["comparisons"][key] = asdict(result)
        print(f"## {key}\n{result.table()}", flush=True)
    finalists = {PADDED: own[PADDED]}
    for key, group in (("own", own), ("ours", same)):
        best = best_peer(found["comparisons"][key])
        label = best if key == "own" else f"{best}, our batching"
        finalists[label] = replace(group[best], items=effort.everything)
    finalists[OURS] = replace(same[OURS], items=effort.everything)
    result = compare(finalists, found["failed"], rounds=effort.rounds_texts, **BULK)
    found["comparisons"]["all"] = asdict(result)
    print(f"## all\n{result.table()}", flush=True)
    found["padding_waste"] = _padding_waste(effort.everything)
    return found


BULK = {"warmup": 1, "seconds": 0, "minimum_calls": 1}


def _with_our_batching() -> dict[str, benchmark.Candidate]:
    """Every engine with length-sorted batches of our token budget."""
    ours = replace(measure.labelling_candidate(STEP[OURS]), sentences="all")
    found: dict[str, benchmark.Candidate] = {}
    for name, engine in engines("classifier").items():
        if not is_ours(name):
            found[name] = Texts(engine, "all", budget=ours.budget)
        elif name == OURS:
            found[name] = ours
        else:
            step = STEP[name]
            recipe = steps.recipe(step).session
            found[name] = replace(ours, path=steps.ensure(step), recipe=recipe, workers=1)
    return found


def _own() -> dict[str, benchmark.Candidate]:
    """Every peer with the best batching that it offers itself; the first is the reference."""
    every = engines("classifier")
    batches = f"batches of {TOGETHER}"
    found: dict[str, benchmark.Candidate] = {
        PADDED: Texts(every[PYTORCH], "all", measure.ONE_BY_ONE)
    }
    for name, engine in every.items():
        if name == "popular recipe":
            found[f"{name}, one by one, padded to 128"] = Texts(engine, "all")
        elif not is_ours(name):
            found[f"{name}, {batches}"] = Texts(engine, "all", size=TOGETHER)
    for precision in ("bf16", "int8"):
        found[f"OpenVINO {precision}, its queue"] = OpenVinoQueue(precision, "all")
    for precision, bf16 in (("fp32", False), ("bf16", True)):
        found[f"pipeline {precision}, {batches}"] = Pipeline(bf16, "all")
        sorting = f"sentence-transformers {precision}, sorted, {batches}"
        found[sorting] = SentenceTransformers(bf16, sentences="all")
    found["sentence-transformers ONNX"] = SentenceTransformers(backend="onnx", sentences="all")
    found[OURS] = replace(measure.labelling_candidate(STEP[OURS]), sentences="all")
    return found


def _engine_of(name: str) -> str:
    return name.split(",")[0]


def _labels(candidate: benchmark.Candidate) -> np.ndarray:
    return candidate.build()()


def _padding_waste(count: int) -> float:
    """Of our batches, as ``candidates.label`` makes them."""
    lengths = [len(row) for row in reviews.encode(candidates.sentences("all", count))]
    batches = batching.by_tokens(lengths, measure.labelling_candidate(STEP[OURS]).budget)
    return batching.padding_waste(lengths, batches)


def growth(effort: Effort) -> dict:
    """Ours on all sentences and on ten times as many: texts a second and peak memory."""
    ours = replace(measure.labelling_candidate(STEP[OURS]), sentences="all")
    few, many = effort.everything, effort.many
    before = apart(_run, replace(ours, items=few), 2)
    large = apart(_run, replace(ours, items=many), 1)
    after = apart(_run, replace(ours, items=few), 2)
    speed = (before["texts_per_s"] + after["texts_per_s"]) / 2
    found = {
        "few": {"texts": few, "texts_per_s": speed, "peak_mb": before["peak_mb"]},
        "many": {"texts": many, **large},
        "drift": after["texts_per_s"] / before["texts_per_s"] - 1,
    }
    print(f"growth: {found}", flush=True)
    return found


def _run(candidate: benchmark.Candidate, calls: int) -> dict[str, float]:
    """Texts a second over ``calls`` calls after a short one, and the peak memory of the process."""
    replace(candidate, items=candidates.LABELLING_BATCH).build()()
    call = candidate.build()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    seconds = time.perf_counter() - start
    return {
        "texts_per_s": calls * candidate.items / seconds,
        "peak_mb": benchmark.peak_mb(),
    }


def compare(
    group: dict[str, benchmark.Candidate], failed: dict[str, str], **effort
) -> benchmark.Comparison:
    """Time those that run; one that fails goes to ``failed`` with its reason, the others go on."""
    group = dict(group)
    while True:
        try:
            return benchmark.compare(group, **effort)
        except benchmark.CandidateFailed as failure:
            culprit = next((n for n in group if str(failure).startswith(f"{n!r} ")), None)
            if culprit is None or len(group) == 1:
                raise
            failed[culprit] = str(failure).strip().splitlines()[-1]
            del group[culprit]
            print(f"{culprit} left out: {failed[culprit]}", flush=True)


STAGES = {"shapes": shapes, "texts": texts, "growth": growth}


def main(words: list[str]) -> None:
    effort = QUICK if "--quick" in words else Effort()
    named = [word for word in words if word != "--quick"]
    if unknown := set(named) - {*STAGES, "report"}:
        sys.exit(f"There is no stage {sorted(unknown)}; choose among {', '.join(STAGES)}, report.")
    stored = Path(RESULTS) / "peers.json"
    found = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    for stage in named or STAGES:
        if stage == "report":
            continue
        start = time.perf_counter()
        found[stage] = STAGES[stage](effort)
        found[stage]["seconds"] = round(time.perf_counter() - start)
        found["peers"] = {name: machine.version(name) for name in VERSIONS}
        found["quick"] = effort is QUICK
        write_json("peers", found | {"machine": machine.describe().to_dict()})
    draw(found | {"machine": machine.describe().to_dict()} if named != ["report"] else found)


if __name__ == "__main__":
    main(sys.argv[1:])
