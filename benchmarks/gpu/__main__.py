"""Measure everything, within a time limit; results are written after every stage.

On the machine with the GPU: ``PYTHONPATH=<ONNX Runtime's GPU build>:src python -m benchmarks.gpu
GRAPHS OUT``. Everywhere: ``--provider cpu`` runs the same code without a GPU.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.gpu import report
from benchmarks.gpu.card import card, folder
from benchmarks.gpu.run import Run
from benchmarks.gpu.runner import Shape
from benchmarks.gpu.stages import measure
from tutorial_utils.core import machine

SHAPES = [(1, 24), (1, 128), (8, 128), (32, 128)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure BERT-base on a GPU.")
    parser.add_argument("graphs", type=Path, help="what benchmarks.gpu.graphs wrote")
    parser.add_argument("out", type=Path, help="where gpu.json and gpu.md go")
    parser.add_argument("--provider", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shapes", nargs="+", type=shape, default=SHAPES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each timing")
    parser.add_argument("--limit", type=float, default=290, help="seconds in all")
    parser.add_argument("--only", nargs="*", help="candidates, by name; all by default")
    asked = parser.parse_args()
    config = json.loads((asked.graphs / "config.json").read_text(encoding="utf-8"))
    versions = {n: machine.version(n) for n in ("torch", "transformers", "onnx")}
    if asked.rounds < 2:
        parser.error("--rounds: an interval needs at least 2.")
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
    if found["card"][0]:
        print(f"Its place: benchmarks/results/{folder(found['card'][0])}/")


def shape(text: str) -> Shape:
    batch, sequence = text.split("x")
    return int(batch), int(sequence)


if __name__ == "__main__":
    main()
