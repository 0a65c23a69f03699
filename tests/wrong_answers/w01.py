"""Plausible wrong answers to the exercises in 01_export."""

import numpy as np

WRONG = {
    "01.same": [
        lambda a, b, tolerance: not (abs(a - b) > tolerance).any(),  # NaN passes
        lambda a, b, tolerance: np.allclose(a, b, atol=tolerance),  # relative too; inf equals inf
        lambda a, b, tolerance: bool(abs(a - b).max() <= tolerance),  # broadcasts different shapes
        lambda a, b, tolerance: bool((a - b).max() <= tolerance),  # misses low values
    ],
    "01.foldable": [
        lambda nodes, constants: sum(set(inputs) <= constants for inputs, _ in nodes),  # one step
        lambda nodes, constants: sum(bool(set(inputs) & constants) for inputs, _ in nodes),  # any
        lambda nodes, constants: len(nodes),
    ],
}
