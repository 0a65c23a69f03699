"""Stored measurements on hardware that a learner may not have, labelled with their machine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.bench.timer import typical_ms
from tutorial_utils.core import paths

NOT_MEASURED = "not measured yet"


@dataclass(frozen=True)
class GpuRun:
    """What ``benchmarks.gpu`` measured on one card: BERT-base, fp16 where nothing else is said.

    machine: the card with the libraries' versions.
    rounds: (stage, shape, measure) → candidate → milliseconds, one value a round. A stage is
    ``rounds``, ``steps`` or ``compiled``; a measure is ``device`` or ``host``. rates: texts in a
    batch → candidate → texts per second. operations, bytes: the card's measured roofs, fp16
    operations and bytes of memory per second.
    """

    card: str
    machine: str
    rounds: dict[tuple[str, str, str], dict[str, Sequence[float]]]
    rates: dict[int, dict[str, float]]
    operations: float
    bytes: float

    def ms(self, stage: str, shape: str, name: str, measure: str = "host") -> float:
        """Milliseconds of a typical call of a candidate."""
        return typical_ms(self.rounds[stage, shape, measure][name])

    def times_faster(self, stage: str, shape: str, name: str, than: str) -> Ratio:
        """How many times faster a candidate is than another in the same rounds, host to host."""
        rounds = self.rounds[stage, shape, "host"]
        return Ratio.of_rounds(rounds[than], rounds[name])


def gpu(name: str = "gpu") -> GpuRun | None:
    """A stored run on a GPU, or None if there is none: ``NOT_MEASURED``.

    name: of its file. The latest is ``gpu``, and the one before it ``gpu_1``.
    """
    folder = paths.repository() / "benchmarks" / "results"
    return next((_read(file) for file in sorted(folder.glob(f"*/{name}.json"))), None)


def _read(file: Path) -> GpuRun:
    found = json.loads(file.read_text(encoding="utf-8"))
    versions = found["machine"]["versions"]
    stages = ("rounds", "steps", "compiled")
    card = found["card"][0]["name"]
    return GpuRun(
        card=card,
        machine=f"{card}, onnxruntime {versions['onnxruntime']}, torch {versions['torch']}",
        rounds={
            (stage, shape, measure): rounds
            for stage in stages
            for shape, measures in found[stage].items()
            for measure, rounds in measures.items()
        },
        rates={
            int(batch): {name: float(np.median(values)) for name, values in rates.items()}
            for batch, rates in found["texts"]["rates"].items()
        },
        operations=found["roof"]["operations per second"],
        bytes=found["roof"]["bytes per second"],
    )
