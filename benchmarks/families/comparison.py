"""The stages of the comparison of families with other tools: build, check, time."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import stages
from benchmarks.common import no_bf16
from benchmarks.families import builds, checkpoints
from benchmarks.families.engines import Engine, OpenVino, OpenVinoParts, Ort, Torch, labels
from benchmarks.families.report import draw_peers
from benchmarks.families.targets import BASE, CPU, OPENVINO, POPULAR, SHAPES
from benchmarks.isolated import Crashed, in_a_process
from benchmarks.peers.candidates import Shape
from benchmarks.peers.stages import compare
from benchmarks.peers.targets import PYTORCH, is_ours
from tutorial_utils import quality
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Onnx
from tutorial_utils.core import machine
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.runtime.session import SessionRecipe, provider_problem

SAME = 0.9  # agreement below which a peer's file computes something else
VERSIONS = ("openvino", "nncf", "onnxruntime-ep-openvino")


@dataclass(frozen=True)
class Effort:
    """How long to measure. seconds: of a turn, see ``timer.compare``.

    texts: test sentences to compare answers on. calibration: validation sentences of each
    quantizer.
    """

    rounds: int = 5
    seconds: float = 0.3
    texts: int = 2_000
    calibration: int = 128


QUICK = Effort(rounds=2, seconds=0.05, texts=60, calibration=16)


def measure(family: str, quick: bool) -> Iterator[dict]:
    """Build, check and time one family. Its files are deleted afterwards."""
    effort = QUICK if quick else Effort()
    layers = "n_layers" if family == "distilbert" else "num_hidden_layers"
    small = {layers: 2, "sentences": 200} if quick else {}
    found: dict = {"failed": {}, "fusions": {}, "kept": {}, "quality": {}, "comparisons": {}}
    found["encoder"] = checkpoints.encoder(family)
    with tempfile.TemporaryDirectory(prefix=f"{family}-") as folder:
        checkpoint = Path(folder, "checkpoint")
        classifier = _made(f"{family}, checkpoint", builds.checkpoint, family, checkpoint, small)
        running = build(classifier, Path(folder), effort, found)
        check(classifier, running, effort, found)
        for batch, length in SHAPES:
            timed: dict[str, timer.Candidate] = {
                name: Shape(engine, batch, length) for name, engine in running.items()
            }
            timed |= in_parts(running, batch, length)
            result = compare(
                timed,
                found["failed"],
                rounds=effort.rounds,
                seconds=effort.seconds,
                warmup=1,
                minimum_calls=1 if batch > 1 else 3,
            )
            found["comparisons"][f"{batch} × {length}"] = asdict(result)
            print(f"## {family}, {batch} × {length}\n{result.table()}", flush=True)
    yield found


def build(classifier: Classifier, folder: Path, effort: Effort, found: dict) -> dict[str, Engine]:
    """Every engine that can run here. ``found`` gets why others cannot, and what was fused."""
    plain, eight = folder / "openvino.xml", folder / "openvino_int8.xml"
    cpu, plugin, texts = folder / "cpu.onnx", folder / "plugin.onnx", effort.calibration
    running: dict[str, Engine] = {PYTORCH: Torch(classifier)}
    if reason := no_bf16():
        found["failed"]["PyTorch bf16"] = reason
    else:
        running["PyTorch bf16"] = Torch(classifier, bf16=True)
    popular = folder / "popular.onnx"
    made: dict[str, tuple[Engine, tuple]] = {
        POPULAR: (Ort(popular, SessionRecipe()), (builds.popular, classifier, popular)),
        "OpenVINO bf16": (OpenVino(plain, "bf16"), (builds.openvino_fp32, classifier, plain)),
        "OpenVINO int8": (
            OpenVino(eight), (builds.openvino_int8, classifier, plain, eight, texts)
        ),
        CPU: (
            Ort(cpu, pipeline.recipe("tuned").session),
            # With random layers, what answers lose says nothing about a trained model.
            (builds.for_cpu, classifier, cpu, texts, found["encoder"] != "random"),
        ),
        OPENVINO: (
            Ort(plugin, SessionRecipe("openvino")),
            (builds.for_openvino, classifier, plugin, texts),
        ),
    }  # fmt: skip
    if problem := provider_problem("openvino"):
        found["failed"][OPENVINO] = problem
        del made[OPENVINO]
    for name, (engine, work) in made.items():
        try:
            built = _made(name, *work)
        except Crashed as crash:
            found["failed"][name] = str(crash)
            print(f"{name} left out: {crash}", flush=True)
            continue
        running[name] = engine
        if is_ours(name):
            found["fusions"][name], found["kept"][name] = built.fused, built.kept
    return running


def check(classifier: Classifier, running: dict[str, Engine], effort: Effort, found: dict) -> None:
    """Compare the answers of every engine in INT8 with PyTorch's.

    One that fails is taken out, and a peer that computes something else.
    """
    test = reviews.splits().test.take(range(effort.texts))
    rows = classifier.encode(test.texts)
    reference = in_a_process(labels, running[PYTORCH], rows, classifier.padding)
    found["classes"] = len(set(reference.tolist()))
    for name in [n for n in running if n != PYTORCH and "bf16" not in n]:
        try:
            answers = in_a_process(labels, running[name], rows, classifier.padding)
        except Crashed as crash:
            found["failed"][name] = str(crash)
            del running[name]
            continue
        score = quality.evaluate(answers, test.labels, reference)
        found["quality"][name] = asdict(score)
        print(f"{name}: {score}", flush=True)
        if not is_ours(name) and score.agreement < SAME:
            found["failed"][name] = f"it answers as PyTorch does in {score.agreement:.1%} only"
            del running[name]


def in_parts(running: dict[str, Engine], batch: int, length: int) -> dict[str, timer.Candidate]:
    """A large batch in parts at the same time, where ours does that (see ``pipeline.recipe``)."""
    recipe = pipeline.recipe("tuned")
    rows, workers = max(1, recipe.token_budget // length), recipe.workers
    if workers == 1 or batch <= rows:
        return {}
    found: dict[str, timer.Candidate] = {}
    for name, engine in running.items():
        if isinstance(engine, OpenVino):
            found[name] = OpenVinoParts(engine, batch, length, rows)
        elif isinstance(engine, Ort) and engine.recipe.provider == "cpu":
            bulk = replace(recipe, session=engine.recipe).in_bulk()
            found[name] = Onnx(engine.path, batch, length, bulk, rows, workers)
    return {f"{name}, {workers} parts at a time": one for name, one in found.items()}


def _made(what: str, function: Callable, *arguments):
    """What a function returns in a process of its own; prints how long it took."""
    start = time.perf_counter()
    result = in_a_process(function, *arguments)
    print(f"{what}: made in {time.perf_counter() - start:.0f} s", flush=True)
    return result


def origin() -> dict:
    """Versions of the other tools, stored with each family."""
    return {"peers": {name: machine.version(name) for name in VERSIONS}}


STAGES: dict[str, stages.Stage] = {family: partial(measure, family) for family in BASE}


def main(words: list[str]) -> None:
    """Compare the named families, or all of them."""
    stages.run("families_peers", words, STAGES, draw_peers, origin, "families.peers")
