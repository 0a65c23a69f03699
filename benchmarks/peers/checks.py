"""Checks that run once, each in its own process: correctness, size, growth."""

import time
from dataclasses import replace

import numpy as np

from benchmarks.peers.candidates import Texts
from benchmarks.peers.engines import Engine, OpenVino
from tutorial_utils.bench import candidates, timer
from tutorial_utils.runtime import batching, inference


def logits(engine: Engine) -> tuple[dict, np.ndarray]:
    """Size in MB and OpenVINO's kernels, and logits on seeded inputs with padding."""
    size, predict = engine.prepare(), engine.predict()
    ids = inference.random_inputs(4, 48)["input_ids"]
    rows = [row[:length] for row, length in zip(ids, (48, 31, 24, 5), strict=True)]
    facts: dict = {"size_mb": size}
    if isinstance(engine, OpenVino):
        facts["kernels"] = engine.kernels()
    return facts, np.asarray(predict(batching.pad(rows)), dtype=np.float32)


def labels(candidate: timer.Candidate) -> np.ndarray:
    """Labels of a text-to-label candidate, int64 (n,). Builds its engine's files first."""
    if isinstance(candidate, Texts):
        candidate.engine.prepare()
    return np.asarray(candidate.build()(), dtype=np.int64)


def run(candidate: timer.Candidate, calls: int) -> dict[str, float]:
    """Texts per second over ``calls`` calls after a short one, and the process's peak memory."""
    replace(candidate, items=candidates.LABELLING_BATCH).build()()
    call = candidate.build()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    seconds = time.perf_counter() - start
    return {
        "texts_per_s": calls * candidate.items / seconds,
        "peak_mb": timer.peak_mb(),
    }
