"""PyTorch models as functions from padded inputs to logits."""

from collections.abc import Callable, Sequence

import numpy as np

from tutorial_utils.core import machine, scoped
from tutorial_utils.runtime.batching import INPUTS

Predict = Callable[[dict[str, np.ndarray]], np.ndarray]  # padded inputs → logits or vectors


def torch_predict(model: str) -> Predict:
    """Inputs → logits, by a PyTorch model of the course: ``classifier`` or ``bert-base``."""
    from tutorial_utils.models import finetuning

    return predictor({"classifier": finetuning.load, "bert-base": finetuning.bert_base}[model]())


def predictor(module, inputs: Sequence[str] = INPUTS, device: str = "cpu") -> Predict:
    """Padded inputs → the module's only output, by PyTorch: on all cores, or in fp16 on a GPU.

    inputs: those that it takes. device: ``cpu`` or ``cuda``.
    """
    import torch

    if device != "cpu":
        module = module.half().to(device)

    def predict(given: dict[str, np.ndarray]) -> np.ndarray:
        with scoped.torch_threads(machine.cores()), torch.inference_mode():
            tensors = {name: torch.from_numpy(given[name]).to(device) for name in inputs}
            (answers,) = module(**tensors).values()
            return answers.float().cpu().numpy()

    return predict
