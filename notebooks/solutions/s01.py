"""Solutions to the exercises of 01_export."""

import numpy as np


def same(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """True if both arrays have one shape, are finite, and never differ by more than `tolerance`."""
    if a.shape != b.shape:
        return False  # NumPy would stretch the smaller one
    if not np.isfinite(np.concatenate([a.ravel(), b.ravel()])).all():
        return False
    return bool((np.abs(a - b) <= tolerance).all())


def foldable(nodes: list[tuple[list[str], str]], constants: set[str]) -> int:
    """How many nodes do not depend on the model's inputs. nodes: [([inputs], output), ...]."""
    known = set(constants)
    count = 0
    for inputs, output in nodes:
        if all(name in known for name in inputs):
            known.add(output)  # nodes that read it may now be foldable too
            count += 1
    return count
