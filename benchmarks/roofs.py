"""The machine's roofs: the fastest plain matrix products, and the memory bandwidth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tutorial_utils.bench import timer
from tutorial_utils.bench.roofline import COPIED, SHAPES, Copy, Gemm, Roofs, Work
from tutorial_utils.core import machine


@dataclass(frozen=True)
class Bf16(Gemm):
    """A product in bf16 through PyTorch, since ONNX Runtime has no such product on x86."""

    def build(self) -> Callable[[], object]:
        import torch

        torch.set_num_threads(machine.cores())
        rng = np.random.default_rng(0)
        left, right = (
            torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).bfloat16()
            for shape in ((self.rows, self.inner), (self.inner, self.columns))
        )
        return lambda: left @ right


PRODUCTS: dict[str, type[Gemm]] = {"fp32": Gemm, "bf16": Bf16, "u8×s8": Gemm}


def roofs(
    shapes: tuple[tuple[int, int, int], ...] = SHAPES,
    rounds: int = 3,
    seconds: float = 0.3,
    kinds: tuple[str, ...] = tuple(PRODUCTS),
) -> Roofs:
    """Measure the machine. ``Roofs.failed`` says why a kind of product cannot run here."""
    best, failed = {}, {}
    for kind in kinds:
        products = {str(shape): PRODUCTS[kind](kind, *shape) for shape in shapes}
        try:
            found = timer.compare(products, rounds=rounds, seconds=seconds)
        except timer.CandidateFailed as error:
            failed[kind] = str(error).strip().splitlines()[-1]
            continue
        best[kind] = max(
            products[name].operations / (min(times) / 1e3) / 1e12
            for name, times in found.rounds.items()
        )
    copy = timer.compare({"copy": Copy()}, rounds=rounds, seconds=seconds)
    return Roofs(best, 2 * COPIED / (min(copy.rounds["copy"]) / 1e3) / 1e9, failed)


def attainable(roofs: Roofs, kind: str, work: Work) -> float:
    """The most that both roofs allow for this work, in 10^12 operations per second."""
    return min(roofs.operations[kind], roofs.bytes * work.operations / work.bytes / 1e3)
