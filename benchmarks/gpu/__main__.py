"""Measure everything, within a time limit; results are written after every stage.

On the machine with the GPU: ``PYTHONPATH=<ONNX Runtime's GPU build>:src python -m benchmarks.gpu
GRAPHS OUT``. Everywhere: ``--provider cpu`` runs the same code without a GPU.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.gpu import report
from benchmarks.gpu.candidates import EFFICIENT, FLASH, UNFUSED, Onnx, Shape, Torch, inputs
from benchmarks.gpu.workers import Failed, Worker
from tutorial_utils import machine, paths

REFERENCE = "PyTorch fp32"
ORT, EAGER = "ONNX Runtime fp16, CUDA graph", "PyTorch fp16"
TORCH_GRAPH = "PyTorch fp16, CUDA graph"
MAIN = {
    ORT: Onnx(),
    EAGER: Torch(),
    TORCH_GRAPH: Torch(cuda_graph=True),
    "PyTorch bf16": Torch("bfloat16"),
    "PyTorch bf16, CUDA graph": Torch("bfloat16", cuda_graph=True),
    "ONNX Runtime, flash attention": Onnx(options={"sdpa_kernel": FLASH}),
    "ONNX Runtime, memory-efficient attention": Onnx(options={"sdpa_kernel": EFFICIENT}),
    "ONNX Runtime, padding mask": Onnx("masked_fp16"),  # as MASKED below
}
STEPS = {  # what each step gives; at two shapes
    "ONNX Runtime, graph captured by PyTorch": Onnx(cuda_graph="outside"),
    "ONNX Runtime fp32 with TF32, CUDA graph": Onnx("fused_fp32", options={"use_tf32": "1"}),
    "ONNX Runtime, no CUDA graph": Onnx(cuda_graph=None),
    "ONNX Runtime, no CUDA graph, no I/O binding": Onnx(cuda_graph=None, bound=False),
    "ONNX Runtime, unfused attention kernel": Onnx(options={"sdpa_kernel": UNFUSED}),
    "ONNX Runtime, exporter's graph, no CUDA graph": Onnx("plain_fp16", cuda_graph=None),
}
COMPILED = {
    "torch.compile fp16, reduce-overhead": Torch(compiled="reduce-overhead"),
    "torch.compile fp16, max-autotune, frozen": Torch(compiled="max-autotune", frozen=True),
    "torch.compile fp16, max-autotune, frozen, captured by hand": Torch(
        compiled="max-autotune-no-cudagraphs", frozen=True, cuda_graph=True
    ),
}
MASKED = "ONNX Runtime, padding mask"
MASKED_WITHOUT = "ONNX Runtime, padding mask, no CUDA graph"
TEXTS = {ORT: MASKED, "ONNX Runtime, no CUDA graph": MASKED_WITHOUT, EAGER: EAGER}
ALL = {REFERENCE: Torch("float32")} | MAIN | STEPS | COMPILED
ALL |= {MASKED_WITHOUT: Onnx("masked_fp16", cuda_graph=None)}


@dataclass
class Run:
    """A measurement under way: what was asked, what was found, and which processes live."""

    asked: argparse.Namespace
    config: dict
    found: dict
    workers: dict[str, Worker]
    begin: float

    @property
    def remaining(self) -> float:
        return self.asked.limit - (time.monotonic() - self.begin)

    def start(self, candidates: dict[str, Onnx | Torch]) -> None:
        for name, candidate in candidates.items():
            if name not in self.workers:
                given = (candidate, self.asked.graphs, self.config, self.asked.provider)
                self.workers[name] = Worker(*given)

    def ask(self, name: str, method: str, *given: object, build: float = 120) -> object:
        """Ask a worker; None, and no more of it, where it failed. The failure is noted."""
        if name not in self.workers:
            return None
        try:
            limits = {"timeout": min(60.0, self.remaining), "build": min(build, self.remaining)}
            return self.workers[name].ask(method, *given, **limits)
        except Failed as failed:
            self.found["failures"][name] = str(failed)
            self.workers.pop(name).stop()
            return None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long a stage took, and write all that is known."""
        print(f"{time.monotonic() - self.begin:6.1f} s  {name}", flush=True)
        begin = time.monotonic()
        yield
        self.found["seconds"][name] = round(time.monotonic() - begin, 1)
        self.write()

    def write(self) -> None:
        text = json.dumps(self.found, indent=1, ensure_ascii=False) + "\n"
        for name, content in (("gpu.json", text), ("gpu.md", report.markdown(self.found))):
            with paths.replacing(self.asked.out / name) as temporary:
                temporary.write_text(content, encoding="utf-8")


def card() -> dict[str, str]:
    """Name, driver and present state of the GPU; {} where there is none."""
    fields = "name,driver_version,memory.total,clocks.sm,clocks.mem,temperature.gpu,power.draw"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        line = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields.split(","), line.splitlines()[0].split(", "), strict=True))


def memory(workers: dict[str, Worker]) -> dict[str, int]:
    """MiB of GPU memory by candidate, as the driver counts a process (its context included)."""
    command = [
        "nvidia-smi",
        "--query-compute-apps=pid,used_memory",
        "--format=csv,noheader,nounits",
    ]
    try:
        lines = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = [line.split(", ") for line in lines.splitlines()]
    used = {int(pid): int(mib) for pid, mib in pairs if mib.strip().isdecimal()}
    return {n: used[w.process.pid] for n, w in workers.items() if w.process.pid in used}


def parity(run: Run, names: list[str], shapes: list[Shape], build: float = 120) -> None:
    """Compare answers with PyTorch in float32, on inputs that no CUDA graph was captured with."""
    vocabulary = run.config.get("vocab_size", 30_522)
    for shape in shapes:
        for padded in (False, True) if shape[0] > 1 else (False,):
            arrays = inputs(shape, vocabulary, seed=1, padded=padded)
            expected = run.ask(REFERENCE, "state", *arrays)
            for name in names:
                masked = isinstance(ALL[name], Torch) or ALL[name].graph.startswith(
                    ("mask", "plain")
                )
                captured = isinstance(ALL[name], Torch) and ALL[name].cuda_graph
                if expected is None or (padded and (captured or not masked)):
                    continue
                if (got := run.ask(name, "state", *arrays, build=build)) is not None:
                    row = {"candidate": name, "shape": f"{shape[0]}x{shape[1]}", "padded": padded}
                    run.found["parity"].append(row | difference(expected, got, arrays[2] > 0))


def difference(expected: tuple, got: tuple, valid: np.ndarray) -> dict:
    """How far logits and hidden states are apart, at positions that are not padding."""
    (logits, state), (other_logits, other_state) = expected, got
    a, b = state[valid], other_state[valid]
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
        texts(run)
    with run.stage("kernels"):
        for name in [*beside, *compiled]:
            if run.remaining > 15 and (seen := run.ask(name, "kernels", at_128[0])):
                run.found["kernels"][name] = seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure BERT-base on a GPU.")
    parser.add_argument("graphs", type=Path, help="what benchmarks.gpu.graphs wrote")
    parser.add_argument("out", type=Path, help="where gpu.json and gpu.md go")
    parser.add_argument("--provider", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--shapes", nargs="+", type=shape, default=["1x24", "1x128", "8x128", "32x128"]
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each timing")
    parser.add_argument("--limit", type=float, default=290, help="seconds in all")
    parser.add_argument("--only", nargs="*", help="candidates, by name; all by default")
    asked = parser.parse_args()
    asked.shapes = [shape(given) if isinstance(given, str) else given for given in asked.shapes]
    config = json.loads((asked.graphs / "config.json").read_text(encoding="utf-8"))
    versions = {n: machine.version(n) for n in ("torch", "transformers", "onnx")}
    found = {
        "machine": asdict(replace(machine.describe(), versions=versions)),
        "provider": asked.provider, "config": config, "card": [card()], "failures": {},
        "seconds": {}, "parity": [], "rounds": {}, "steps": {}, "compiled": {}, "kernels": {},
        "memory": {},
    }  # fmt: skip
    run = Run(asked, config, found, {}, time.monotonic())
    try:
        measure(run)
    finally:
        for worker in run.workers.values():
            worker.stop()
        found["seconds"]["all"] = round(time.monotonic() - run.begin, 1)
        run.write()
    print(report.markdown(found))


def shape(text: str) -> Shape:
    batch, sequence = text.split("x")
    return int(batch), int(sequence)


if __name__ == "__main__":
    main()
