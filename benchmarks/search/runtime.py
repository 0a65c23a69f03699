"""The runtime search. Each section answers one question and can be measured separately."""

import json
import queue
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.common import Folder, section
from benchmarks.search import static_quantization
from benchmarks.search.memory import ALLOCATORS, Allocating, StartUp
from tutorial_utils import plots
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Labelling, Onnx
from tutorial_utils.core import machine, paths
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.runtime import batching, session
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.runtime.session import SessionRecipe

BUDGETS = (128, 256, 512, 1024, 2048)
TEXTS = {"width": None, "items": 1_000}
BULK = {"rounds": 7, "warmup": 1, "minimum_calls": 1, "seconds": 0.5}


@dataclass(frozen=True)
class Section:
    """A question: the candidates, the reference first, and how long to measure them."""

    title: str
    candidates: Callable[[], dict[str, timer.Candidate]]
    effort: dict[str, float]
    text: str = ""


@dataclass(frozen=True)
class Sessions(Labelling):
    """A separate session for each worker, with its own weights and threads."""

    def predict(self) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        idle = queue.SimpleQueue()
        for _ in range(self.workers):
            idle.put(onnx_predict(self.path, self.recipe))

        def answer(inputs: dict[str, np.ndarray]) -> np.ndarray:
            predict = idle.get()
            try:
                return predict(inputs)
            finally:
                idle.put(predict)

        return answer


def search(folder: Folder, only: tuple[str, ...] = ()) -> None:
    """Measure the named sections, or all; the others keep their earlier results."""
    titles = {section.title for section in SECTIONS.values()}
    found = {t: result for t, result in folder.read("runtime").items() if t in titles}
    for name in only or SECTIONS:
        asked = SECTIONS[name]
        result = timer.compare(asked.candidates(), **asked.effort)
        found[asked.title] = asdict(result)
        if name == "providers" and (problem := session.provider_problem("openvino")):
            found[asked.title]["missing"] = f"OpenVINO's provider was not measured: {problem}."
        folder.keep("runtime", found)
        print(f"## {asked.title}\n{result.table()}", flush=True)
    draw(folder.read("runtime"), folder)


def draw(found: dict, folder: Folder) -> None:
    """Write ``runtime.md`` and ``runtime.png``."""
    parts = [TEXT]
    for asked in SECTIONS.values():
        if result := found.get(asked.title):
            text = f"{asked.text}Measured on: {result['machine']}.\n\n"
            parts.append(section(asked.title, result, text))
            if "missing" in result:
                parts.append(f"{result['missing']}\n")
    if missing := [n for n, asked in SECTIONS.items() if asked.title not in found]:
        command = f"python -m benchmarks.search runtime --only {' '.join(missing)}"
        parts.append(f"**Not measured: {', '.join(missing)}.** `{command}` measures the rest.\n")
    folder.write("runtime.md", "\n".join(parts))
    if workers := found.get(SECTIONS["workers"].title):
        timings = workers["timings"]
        _draw_workers({name: timings[name]["items_per_s"] for name in timings}, folder)


def _draw_workers(speeds: dict[str, float], folder: Folder) -> None:
    fastest = max(speeds, key=speeds.get)
    figure = plots.bars(
        speeds,
        title=f"Real sentences: most texts a second with {fastest} tokens",
        unit="texts a second, from text to label (workers × threads, token budget)",
        highlight=(fastest,),
        digits=0,
    )
    folder.save_figure("runtime", figure)


def _ours() -> tuple[Path, SessionRecipe]:
    return pipeline.ensure("int8"), pipeline.recipe("int8").session


def _workers() -> dict:
    (file, recipe), cores = _ours(), machine.cores()
    alone = replace(recipe, threads=1)
    found = {f"1 × {cores} threads, 1,024": Labelling(file, recipe, 1024, **TEXTS)}
    for budget in BUDGETS:
        found[f"1 × {cores} threads, {budget:,}"] = Labelling(file, recipe, budget, **TEXTS)
        found[f"{cores} × 1 thread, {budget:,}"] = Labelling(
            file, alone, budget, workers=cores, **TEXTS
        )
    found[f"{cores} × {cores} threads, 256"] = Labelling(file, recipe, 256, workers=cores, **TEXTS)
    one_each = Sessions(file, alone, 256, workers=cores, **TEXTS)
    return found | {
        f"{cores} sessions × 1 thread, 256": one_each,
        f"{cores} sessions × {cores} threads, 256": replace(one_each, recipe=recipe),
        f"{cores} × 1 thread, 256, unsorted": Labelling(
            file, alone, 256, workers=cores, by_length=False, **TEXTS
        ),
        f"1 × {cores} threads, 1,024, unsorted": Labelling(
            file, recipe, 1024, by_length=False, **TEXTS
        ),
    }


def _options() -> dict[str, SessionRecipe]:
    recipe = _ours()[1]
    return {
        "as recommended": recipe,
        "no spinning": replace(recipe, spinning=False),
        "no prepacking": replace(recipe, config={"session.disable_prepacking": "1"}),
        "no arena": replace(recipe, arena=False),
        "no memory pattern": replace(recipe, memory_pattern=False),
        "denormals are zero": replace(recipe, config={"session.set_denormal_as_zero": "1"}),
        "dynamic block size 4": replace(recipe, config={"session.dynamic_block_base": "4"}),
        "as recommended, again": recipe,
    }


def _options_one() -> dict:
    return {name: Onnx(_ours()[0], 1, 128, recipe) for name, recipe in _options().items()}


def _options_many() -> dict:
    return {n: Labelling(_ours()[0], recipe, 1024, **TEXTS) for n, recipe in _options().items()}


def _start_up() -> dict:
    """The graph optimized at each start, or once and saved in ONNX or ORT format."""
    file, recipe = pipeline.ensure("int8", "bert-base"), pipeline.recipe("int8").session
    folder = paths.home() / "search" / "runtime"
    folder.mkdir(parents=True, exist_ok=True)
    saved = {"ONNX": folder / "saved.onnx", "ORT": folder / "saved.ort"}
    for kind, path in saved.items():
        options = recipe.options()
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", kind)
        ort.InferenceSession(
            str(file), options, disabled_optimizers=list(recipe.disabled_optimizers)
        )
    ready = replace(recipe, optimization="none")
    unpacked = replace(ready, config={"session.disable_prepacking": "1"})
    return {
        "ONNX, rewritten at load": StartUp(file, recipe),
        "ONNX, saved rewritten": StartUp(saved["ONNX"], ready),
        "ORT format": StartUp(saved["ORT"], ready),
        "ORT format, no prepacking": StartUp(saved["ORT"], unpacked),
    }


def _allocators() -> dict:
    return {name: Allocating(*_ours(), name) for name in ALLOCATORS}


def _providers() -> dict:
    """Ours and, if its plugin finds a device, OpenVINO in three precisions."""
    exported = pipeline.ensure("exported")
    # OpenVINO reads 8 bits as Q/DQ pairs with fixed scales, which dynamic quantization lacks.
    static = paths.home() / "search" / "runtime" / "static.onnx"
    rows = reviews.encode(reviews.splits().validation.texts[:256])
    calibration = [batching.pad(rows[start : start + 16]) for start in range(0, len(rows), 16)]
    static_quantization.quantize(exported, static, calibration)
    found = {
        "ours, int8": Labelling(*_ours(), 1024, **TEXTS),
        "CPU, fp32": Labelling(exported, SessionRecipe(), 1024, **TEXTS),
        "CPU, static int8": Labelling(static, SessionRecipe(), 1024, **TEXTS),
    }
    if session.provider_problem("openvino"):
        return found
    files = {"f32": exported, "bf16": exported, "static int8": static}
    for precision, file in files.items():
        hint = json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": precision}})
        options = {} if file == static else {"load_config": hint}
        through = SessionRecipe("openvino", options)
        found[f"OpenVINO, {precision}"] = Labelling(file, through, 1024, **TEXTS)
    return found


TEXT = """# Runtime search

Measured by `make search`; the first row of each table is the reference. The model is the INT8
classifier unless a section says otherwise. `python -m benchmarks.search runtime --only start-up`
measures one section again.
"""
SECTIONS = {
    "workers": Section(
        "Workers × threads × sessions, token budget and sorting, real sentences",
        _workers,
        BULK,
        "Workers run batches at the same time, in one session unless a row says otherwise. The "
        "last number is the token budget. Texts are sorted by length unless a row says otherwise. ",
    ),
    "options-one": Section(
        "Session options, one text of 128 tokens", _options_one, {"rounds": 9, "seconds": 0.3}
    ),
    "options-many": Section("Session options, real sentences", _options_many, BULK),
    "start-up": Section(
        "Start-up: opening a session",
        _start_up,
        {"rounds": 7, "seconds": 0.5, "warmup": 1},
        "INT8 at the BERT-base shape. Milliseconds to open one session, with the file in the page "
        "cache. ",
    ),
    "allocators": Section(
        "Allocators, real sentences in batches of 4,096 tokens",
        _allocators,
        BULK,
        "An arena with a growth strategy is registered with the process, and the session uses it "
        "(`session.use_env_allocators`). To give memory back is the run option "
        "`memory.enable_memory_arena_shrinkage`. ",
    ),
    "providers": Section(
        "Providers, real sentences",
        _providers,
        BULK,
        "OpenVINO through its plugin provider. The precision is a hint, which it may ignore on "
        "some processors. ",
    ),
}
