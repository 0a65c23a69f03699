"""Inputs of the greatest length, which the texts of the data may never reach.

Attention in windows, or a wrong position, shows only there. A few rows are enough, because a wrong
file is wrong for each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, cycle, islice

import numpy as np

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.optimize.job import Job
from tutorial_utils.runtime import batching

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Long:
    """One row as model inputs, (1, width). tokens: how many of them are not padding."""

    tokens: int
    width: int
    inputs: Inputs

    def __str__(self) -> str:
        padded = f" padded to {self.width:,}" if self.tokens < self.width else ""
        return f"{self.tokens:,} tokens{padded}"


def of(job: Job) -> list[Long]:
    """Rows of ``max_length`` tokens and of half as many, each full and with a third of padding.

    Their tokens are those of the job's texts, one text after the other.
    """
    rows, longest = job.texts.rows, job.classifier.max_length
    tokens = list(chain.from_iterable(row[1:-1] for row in rows)) or list(chain(*rows))
    found = []
    for width in (longest // 2, longest):
        for length in (width, width - width // 3):
            # The first and the last token are usually special ones.
            row = [rows[0][0], *islice(cycle(tokens), max(0, length - 2)), rows[0][-1]]
            inputs = batching.pad([row[:length]], width, job.classifier.padding)
            found.append(Long(length, width, inputs))
            tokens = tokens[length % len(tokens) :] + tokens[: length % len(tokens)]
    return found


def answers(job: Job, predict: Callable[[Inputs], np.ndarray]) -> np.ndarray:
    """Logits of all rows of ``of``, float32 (rows, labels).

    Raises:
        InvalidArgument: it fails at a length; the message names length and cause.
    """
    found = []
    for long in of(job):
        try:
            found.append(predict(long.inputs))
        except Exception as error:  # PyTorch and ONNX Runtime raise many kinds
            reason = (str(error).strip().splitlines() or ["no message"])[0]
            raise InvalidArgument(f"at {long}: {type(error).__name__}: {reason}") from None
    return np.concatenate(found)
