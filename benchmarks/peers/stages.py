"""The stages of the comparison with other tools."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from benchmarks import stages
from benchmarks.isolated import Crashed, in_a_process
from benchmarks.peers.candidates import Parts, Shape, Texts
from benchmarks.peers.checks import labels, logits, run
from benchmarks.peers.engines import Engine, OpenVino
from benchmarks.peers.groups import STEP, engines, left_out, one_by_one, own, with_our_batching
from benchmarks.peers.report import draw
from benchmarks.peers.targets import OURS, PADDED, best_of_ours, best_peer, engine_of
from benchmarks.roofs import roofs
from tutorial_utils import quality
from tutorial_utils.bench import roofline, timer
from tutorial_utils.core import hashing, machine
from tutorial_utils.data import reviews
from tutorial_utils.lessons import measure, pipeline
from tutorial_utils.models import labelling
from tutorial_utils.runtime import batching

SHAPES = ((1, 24), (1, 128), (8, 128))
VERSIONS = ("openvino", "nncf", "onnxruntime-ep-openvino", "sentence-transformers")
GROWTH_ROUNDS = 2
BULK = {"warmup": 1, "seconds": 0, "minimum_calls": 1}


@dataclass(frozen=True)
class Effort:
    """Rounds of each comparison, sentences per call, sentences of the growth stage."""

    rounds: int = 5
    rounds_texts: int = 5
    some: int = 400
    everything: int = 10_000
    many: int = 100_000
    checked: int = reviews.TEST_SENTENCES


QUICK = Effort(2, 2, 100, 400, 2_000, 200)


def shapes(effort: Effort) -> Iterator[dict]:
    """BERT-base with seeded weights at three shapes, after checks of size and logits."""
    every = engines("bert-base")
    found: dict = {"checks": {}, "failed": left_out(every), "comparisons": {}}
    running, reference = {}, None
    for name, engine in every.items():
        if name in found["failed"]:
            continue
        try:
            facts, answers = in_a_process(logits, engine)
        except Crashed as crash:
            found["failed"][name] = str(crash)
            continue
        running[name] = engine
        reference = answers if reference is None else reference
        spread = float(np.abs(reference).max())
        difference = float(np.abs(answers - reference).max())
        found["checks"][name] = facts | {"difference": difference / spread}
        size = f"{facts['size_mb']:.0f} MB"
        print(f"{name}: {size}, logits differ by {difference / spread:.1e}", flush=True)
    for batch, length in SHAPES:
        timed = {
            name: measure.latency_candidate(STEP[name], batch, length)
            if name in STEP
            else Shape(engine, batch, length)
            for name, engine in running.items()
        } | _in_parts(running, batch, length)
        result = compare(
            timed,
            found["failed"],
            rounds=effort.rounds,
            seconds=0.3,
            minimum_calls=1 if batch > 1 else 3,
        )
        found["comparisons"][f"{batch} × {length}"] = asdict(result)
        print(f"## {batch} × {length}\n{result.table()}", flush=True)
        yield found


def _in_parts(running: dict[str, Engine], batch: int, length: int) -> dict[str, Parts]:
    """OpenVINO with a large batch in concurrent parts, as ours runs it too."""
    recipe = pipeline.recipe(STEP[OURS])
    rows = max(1, recipe.token_budget // length)
    if recipe.workers == 1 or batch <= rows:
        return {}
    return {
        f"{name}, {recipe.workers} parts at a time": Parts(engine, batch, length, rows)
        for name, engine in running.items()
        if isinstance(engine, OpenVino)
    }


def roof(effort: Effort) -> Iterator[dict]:
    """The machine's u8×s8 roof, and the work of ours at 8 × 128, in 10^12 operations."""
    kind = "u8×s8"
    found = roofs(kinds=(kind,), rounds=min(3, effort.rounds))
    if kind in found.failed:
        raise Crashed(found.failed[kind])
    work = roofline.work(pipeline.ensure("int8", "bert-base"), 8, 128)
    print(f"roof: {found.operations[kind]:.2f} · 10^12 operations per second", flush=True)
    yield {"roof": found.operations[kind], "work": work.operations / 1e12}


def texts(effort: Effort) -> Iterator[dict]:
    """Real sentences from text to label: peers' own batching, our batching, the finalists."""
    theirs, same = own(), with_our_batching()
    found: dict = {"checks": {}, "failed": left_out(same | theirs), "comparisons": {}}
    found["padding_waste"] = _padding_waste(effort.everything)
    reference = measure.predictions("pytorch")[: effort.checked]
    truth = reviews.splits().test.labels[: effort.checked]
    for name, candidate in (same | theirs).items():
        if name == PADDED:  # PyTorch with our batching gives the same labels in a tenth of the time
            continue
        if engine_of(name) in found["failed"]:
            continue
        if isinstance(candidate, Texts) and engine_of(name) in found["checks"]:
            continue  # the same file, other batches
        try:
            answers = in_a_process(
                labels, replace(candidate, sentences="test", items=effort.checked)
            )
        except Crashed as crash:
            found["failed"][name] = str(crash)
            continue
        score = quality.evaluate(answers, truth, reference)
        found["checks"][name] = asdict(score)
        print(f"{name}: {score}", flush=True)
    for key, group, items in (("own", theirs, effort.some), ("ours", same, 2 * effort.some)):
        running = {
            name: candidate if one_by_one(candidate) else replace(candidate, items=items)
            for name, candidate in group.items()
            if name not in found["failed"] and engine_of(name) not in found["failed"]
        }
        result = compare(running, found["failed"], rounds=effort.rounds_texts, **BULK)
        found["comparisons"][key] = asdict(result)
        print(f"## {key}\n{result.table()}", flush=True)
        yield found
    finalists = {PADDED: theirs[PADDED]}
    for key, group in (("own", theirs), ("ours", same)):
        best = best_peer(found["comparisons"][key])
        label = best if key == "own" else f"{best}, our batching"
        finalists[label] = replace(group[best], items=effort.everything)
    for name in dict.fromkeys([OURS, best_of_ours(found["comparisons"]["ours"]) or OURS]):
        finalists[name] = replace(same[name], items=effort.everything)
    result = compare(finalists, found["failed"], rounds=effort.rounds_texts, **BULK)
    found["comparisons"]["all"] = asdict(result)
    print(f"## all\n{result.table()}", flush=True)
    yield found


def _padding_waste(count: int) -> float:
    """Padding waste of our batches, made as ``labelling.label`` makes them."""
    lengths = [len(row) for row in reviews.encode(labelling.sentences("all", count))]
    budget = measure.labelling_candidate(STEP[OURS]).budget
    batches = [
        [start + i for i in batch]
        for start in range(0, count, labelling.WINDOW)
        for batch in batching.by_tokens(lengths[start : start + labelling.WINDOW], budget)
    ]
    return batching.padding_waste(lengths, batches)


def growth(effort: Effort) -> Iterator[dict]:
    """Ours on all sentences and on ten times as many: texts per second and peak memory.

    The two sizes take turns, because a machine's speed drifts during such long runs. Each larger
    run comes between two smaller ones, and each run has its own process.
    """
    ours = replace(measure.labelling_candidate(STEP[OURS]), sentences="all")
    sizes = [effort.everything, *[effort.many, effort.everything] * GROWTH_ROUNDS]
    runs = []
    for texts in sizes:
        calls = 4 if texts == effort.everything else 1
        runs.append({"texts": texts, **in_a_process(run, replace(ours, items=texts), calls)})
        print(f"growth: {runs[-1]}", flush=True)
    yield {"runs": runs}


def compare(
    group: dict[str, timer.Candidate], failed: dict[str, str], **effort
) -> timer.Comparison:
    """Time a group. A candidate that fails is left out, and its reason is added to ``failed``."""
    group = dict(group)
    while True:
        try:
            return timer.compare(group, **effort)
        except timer.CandidateFailed as failure:
            culprit = next((n for n in group if str(failure).startswith(f"{n!r} ")), None)
            if culprit is None or len(group) == 1:
                raise
            failed[culprit] = str(failure).strip().splitlines()[-1]
            del group[culprit]
            print(f"{culprit} left out: {failed[culprit]}", flush=True)


STAGES = {"shapes": shapes, "roof": roof, "texts": texts, "growth": growth}


def main(words: list[str]) -> None:
    """Run the named stages, or all of them."""
    every = {name: partial(_measured, stage) for name, stage in STAGES.items()}
    stages.run("peers", words, every, draw, more=_origin)


def _measured(stage: Callable[[Effort], Iterator[dict]], quick: bool) -> Iterator[dict]:
    return stage(QUICK if quick else Effort())


def _origin() -> dict:
    """Versions of the peers, and the first digits of the hashes of our files."""
    return {
        "peers": {name: machine.version(name) for name in VERSIONS},
        "files": {m: hashing.sha256(pipeline.ensure(STEP[OURS], m))[:12] for m in pipeline.MODELS},
    }
