"""Solutions to the exercises of 02_fusion."""

import numpy as np


def traffic(elements: int, operators: int) -> float:
    """MB (10^6 bytes) read and written by a chain of elementwise operators on fp32 tensors."""
    tensor = elements * np.dtype(np.float32).itemsize
    read, written = tensor * operators, tensor * operators
    return (read + written) / 1e6


def missing(expected: dict[str, int], found: dict[str, int]) -> dict[str, int]:
    """{operator: how many are missing} for operators found fewer times than expected."""
    result = {}
    for op, wanted in expected.items():
        there = found.get(op, 0)
        if there < wanted:
            result[op] = wanted - there
    return result
