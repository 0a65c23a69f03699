"""Claims about running a file: speed, options, devices, warm-up, padding, memory (1, 8 to 14)."""

import warnings
from dataclasses import replace

import numpy as np
import onnxruntime as ort

from benchmarks.claims.common import SHORT, compare, scored
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Labelling, Onnx
from tutorial_utils.data import reviews
from tutorial_utils.graph import inspection
from tutorial_utils.lessons import measure, pipeline
from tutorial_utils.runtime import session

CPU = ["CPUExecutionProvider"]


def latency() -> dict:
    given = {step: measure.latency_candidate(step) for step in ("pytorch", "int8")}
    difference, same = scored(measure.predictions("int8"))
    return {"time": compare(given, "int8", "pytorch"), "f1": difference, "agreement": same}


def session_options() -> dict:
    options, taken = ort.SessionOptions(), {}
    for name in ("enable_cuda_graph", "cudnn_conv_algo_search"):
        try:
            setattr(options, name, True)
            taken[name] = True
        except AttributeError:
            taken[name] = False
    options.log_severity_level = 3
    options.add_session_config_entry("no_such_option", "1")
    try:
        opened = ort.InferenceSession(str(pipeline.ensure("int8")), options, providers=CPU)
        silent = opened.get_provider_options() == {"CPUExecutionProvider": {}}
    except Exception:  # ONNX Runtime's own exceptions share no base class
        silent = False
    return {"attributes": taken, "any text is accepted": silent}


def device() -> dict:
    ort.set_default_logger_severity(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = ort.InferenceSession(
            str(pipeline.ensure("int8")), providers=["CUDAExecutionProvider", *CPU]
        )
    ort.set_default_logger_severity(3)
    return {"get_device": ort.get_device(), "providers": asked.get_providers()}


def tensorrt() -> dict:
    problem = session.provider_problem("tensorrt") or "no machine of the course has it"
    return {
        "problem": problem,
        "QuantizeLinear": inspection.op_counts(pipeline.ensure("int8"))["QuantizeLinear"],
    }


class Twice(Onnx):
    """A candidate that warms up before each run."""

    def build(self):
        once = super().build()
        return lambda: (once(), once())[1]


def warm_up() -> dict:
    file, recipe = pipeline.ensure("int8"), pipeline.recipe("int8").session
    given = {"once": Onnx(file, 1, 128, recipe), "twice": Twice(file, 1, 128, recipe)}
    answers = [candidate.build()()[0] for candidate in given.values()]
    return {
        "time": compare(given, "twice", "once"),
        "same answer": bool(np.allclose(*answers)),
    }


def padding() -> dict:
    file, recipe = pipeline.ensure("int8"), pipeline.recipe("int8").session
    lengths = [len(row) for row in reviews.encode(reviews.splits().test.texts)]
    given = {
        "own length": Labelling(file, recipe, width=None, items=60),
        "padded": Labelling(file, recipe, width=128, items=60),
    }
    return {
        "mean length": float(np.mean(lengths)),
        "waste": 1 - sum(lengths) / (128 * len(lengths)),
        "time": compare(given, "padded", "own length", warmup=1, minimum_calls=1),
    }


def throughput() -> dict:
    file, recipe = pipeline.ensure("int8"), pipeline.recipe("int8").session
    given = {str(batch): Onnx(file, batch, 24, recipe) for batch in (1, 8, 32)}
    timings = timer.compare(given, **SHORT).timings
    return {"factor": {n: t.items_per_s / (1000 / t.mean_ms) for n, t in timings.items()}}


def arena() -> dict:
    file, recipe = pipeline.ensure("int8"), pipeline.recipe("int8").session
    ways = {"neither": (0, 0), "pattern": (0, 1), "arena": (1, 0), "both": (1, 1)}
    given = {
        name: Labelling(
            file, replace(recipe, arena=bool(a), memory_pattern=bool(p)), 4096, None, 400
        )
        for name, (a, p) in ways.items()
    }
    found = timer.compare(given, rounds=3, seconds=0.3, warmup=1, minimum_calls=1)
    return {name: timing.peak_mb for name, timing in found.timings.items()}
