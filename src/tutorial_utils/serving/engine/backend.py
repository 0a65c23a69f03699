"""A model with its circuit breaker: the engine has one, and maybe a second as the fallback."""

import logging
import re
from collections.abc import Sequence

import numpy as np

from tutorial_utils.registry import LoadedModel, Manifest
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.serving.engine.breaker import Breaker

log = logging.getLogger(__name__)

PROBE = "Is the model well?"
_CUDA = re.compile(  # ONNX Runtime writes "CUDA failure 700: an illegal … ; GPU=0 ; hostname=…"
    r"\b(?:CUDA|CUBLAS|CUDNN|CUDNN_FE|CUFFT|NCCL) failure \d{1,5}"
    r"(?:: [A-Za-z0-9_ -]{1,80}(?= ; GPU=\d))?"
)


def kind(error: BaseException) -> str:
    """An error's type and, if a CUDA library failed, its number and name, for the log.

    The rest of the message is left out: it may hold what a caller sent.
    """
    failure = _CUDA.search(str(error))
    return type(error).__name__ + (f" ({failure[0]})" if failure else "")


def probe(manifest: Manifest) -> Text:
    """A harmless input, of the kind that the model reads."""
    return (PROBE, PROBE) if manifest.reads == "pair" else PROBE


class Backend:
    """A model that may answer. A fallback may have a different tokenizer and different labels."""

    def __init__(self, model: LoadedModel, breaker: Breaker, fallback: bool = False):
        self.model, self.breaker, self.fallback = model, breaker, fallback

    def logits(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """float32 (rows, labels).

        Raises:
            ValueError: the model gave something other than one finite row for each.
        """
        logits = self.model.logits(batching.pad(rows, padding=self.model.recipe.padding))
        if len(logits) != len(rows) or not np.isfinite(logits).all():
            raise ValueError("the logits are not finite, or not one row for each text")
        return logits

    def too_many(self, rows: Sequence[Sequence[int]]) -> bool:
        """Is the batch larger than this backend takes?

        Batches are made for the first model. A fallback on a CPU takes fewer tokens than a GPU.
        """
        return self.fallback and len(rows) * max(map(len, rows)) > self.model.recipe.token_budget

    def well(self) -> bool:
        """Does the model answer a harmless input?"""
        try:
            self.logits(self.model.encode([probe(self.model.manifest)]))
        except Exception as error:
            log.error("the model is not well: %s", kind(error))
            return False
        return True


Backends = Sequence[Backend]  # in the order in which they are asked
