"""The stages of a measurement, in the order of their value."""

from dataclasses import replace

import numpy as np

from benchmarks.gpu.candidates import (
    ALL,
    COMPILED,
    MAIN,
    MASKED,
    MASKED_CLS,
    ORT,
    REFERENCE,
    STEPS,
    TEXTS,
)
from benchmarks.gpu.card import card, memory
from benchmarks.gpu.run import Run
from benchmarks.gpu.runner import Shape, inputs


def parity(run: Run, names: list[str], shapes: list[Shape], build: float = 120) -> None:
    """Compare answers with PyTorch in float32, on inputs that no CUDA graph was captured with."""
    vocabulary = run.config.get("vocab_size", 30_522)
    for shape in shapes:
        for padded in (False, True) if shape[0] > 1 else (False,):
            arrays = inputs(shape, vocabulary, seed=1, padded=padded)
            expected = run.ask(REFERENCE, "state", *arrays)
            for name in names:
                if expected is None or (padded and not ALL[name].takes_mask):
                    continue
                if (got := run.ask(name, "state", *arrays, build=build)) is not None:
                    row = {"candidate": name, "shape": f"{shape[0]}x{shape[1]}", "padded": padded}
                    run.found["parity"].append(row | difference(expected, got, arrays[2] > 0))


def difference(expected: tuple, got: tuple, valid: np.ndarray) -> dict:
    """How far logits and hidden states are apart, at positions that are not padding.

    A candidate that computes the first position alone is compared there.
    """
    (logits, state), (other_logits, other_state) = expected, got
    valid = valid[:, : other_state.shape[1]]
    a, b = state[:, : other_state.shape[1]][valid], other_state[valid]
    return {
        "finite": bool(np.isfinite(b).all() and np.isfinite(other_logits).all()),
        "state": float(np.abs(a - b).max()),
        "relative": float(np.linalg.norm(a - b) / np.linalg.norm(a)),
        "agreement": float((a.argmax(-1) == b.argmax(-1)).mean()),
        "logits": float(np.abs(logits - other_logits).max()),
        "labels": float((logits.argmax(-1) == other_logits.argmax(-1)).mean()),
    }


def latency(run: Run, names: list[str], shapes: list[Shape], rounds: int, into: str) -> None:
    """Time candidates in turn, forwards and backwards by round; write after each round."""
    for turn in range(rounds):
        for shape in shapes:
            key = f"{shape[0]}x{shape[1]}"
            for name in names if turn % 2 == 0 else reversed(names):
                for measure in ("device", "host"):
                    if measure == "device" and not getattr(ALL[name], "bound", True):
                        continue
                    if run.remaining < 5:
                        return
                    ms = run.ask(name, "time", shape, measure, run.asked.seconds)
                    if ms is not None:
                        table = run.found[into].setdefault(key, {}).setdefault(measure, {})
                        table.setdefault(name, []).append(ms)
        run.found["card"].append(card())
        run.write()


def texts(run: Run) -> None:
    """Texts per second at growing batches; lengths like those of sentences, about 25 tokens."""
    count = 2048 if run.asked.provider == "cuda" else 64
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.gamma(4.0, 6.3, count).round(), 4, 64).astype(int).tolist()
    run.found["texts"] = {"mean tokens": float(np.mean(lengths)), "rates": {}}
    for batch in (1, 8, 32, 128, 512) if run.asked.provider == "cuda" else (8, 32):
        for label, name in TEXTS.items():
            rates = run.ask(name, "texts", lengths if batch > 1 else lengths[:128], batch, 3)
            if rates:
                run.found["texts"]["rates"].setdefault(str(batch), {})[label] = rates
        run.write()


def measure(run: Run) -> None:
    """All stages, in the order of their value."""
    asked = run.asked
    main, steps, compiled = (
        [name for name in group if not asked.only or name in asked.only]
        for group in (MAIN, STEPS, COMPILED)
    )
    shapes, at_128 = asked.shapes, [s for s in asked.shapes if s[1] == asked.shapes[-1][1]][:2]
    with run.stage("parity"):
        run.start({name: ALL[name] for name in [REFERENCE, *main, *steps]})
        parity(run, [*main, *steps], shapes)
        run.found["roof"] = run.ask(REFERENCE, "ceilings")
        for name in (REFERENCE, ORT):
            run.found["machine"]["versions"] |= run.ask(name, "about") or {}
    with run.stage("latency"):
        latency(run, main, shapes, asked.rounds, "rounds")
    with run.stage("steps"):
        latency(run, [*main[:2], *steps], at_128, asked.rounds, "steps")
        run.found["memory"] = memory(
            {n: run.workers[n] for n in [*main, *steps] if n in run.workers}
        )
    beside = [name for name in main if "bf16" not in name and name != MASKED]
    with run.stage("torch.compile"):
        run.start({name: replace(ALL[name], first=at_128[0]) for name in compiled})
        parity(run, compiled, at_128[:1], build=min(150, run.remaining - 60))
        latency(run, [*beside, *compiled], at_128[:1], asked.rounds, "compiled")
    with run.stage("texts"):
        run.start(
            {name: ALL[name] for name in TEXTS.values() if not asked.only or name in asked.only}
        )
        parity(run, [MASKED_CLS], at_128[1:])
        texts(run)
    with run.stage("kernels"):
        for name in [*beside, *compiled]:
            if run.remaining > 15 and (seen := run.ask(name, "kernels", at_128[0])):
                run.found["kernels"][name] = seen
