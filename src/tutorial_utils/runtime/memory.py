"""Batches that fit into a device's memory, found by trying, because kernels need memory too."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from tutorial_utils.runtime import batching
from tutorial_utils.runtime.batching import Padding

log = logging.getLogger(__name__)

_SIGNS = (  # of the CPU, an arena with a limit, CUDA, cuBLAS, C++
    "failed to allocate", "smaller than requested bytes", "out of memory", "alloc_failed",
    "bad_alloc", "out_of_memory", "cublas_status_not_initialized",
)  # fmt: skip


def is_allocation_failure(error: BaseException) -> bool:
    """Was memory too small? ONNX Runtime has no error type for it, only messages."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in _SIGNS)


def largest_budget(
    predict: Callable[[dict[str, np.ndarray]], object],
    row: Sequence[int],
    budget: int,
    padding: Padding = Padding(),
) -> int:
    """``budget`` tokens of a batch, halved until the largest batch fits into memory.

    row: token ids of the longest text. A batch of such texts needs the most memory, because
    attention grows with the square of the length. The result is never less than one text.

    Raises:
        Exception: what ``predict`` raises, if memory is not the reason or one text does not fit.
    """
    while True:
        count = max(1, budget // len(row))
        try:
            predict(batching.pad([row] * count, padding=padding))
            return budget
        except Exception as error:
            if not is_allocation_failure(error) or count == 1:
                raise
            log.warning("batches of %d tokens do not fit into memory: trying half", budget)
            budget //= 2
