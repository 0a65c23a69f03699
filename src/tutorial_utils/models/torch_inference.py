"""The PyTorch models of the series as functions from padded inputs to logits."""

from collections.abc import Callable

import numpy as np

from tutorial_utils.core import machine, scoped


def torch_predict(model: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Inputs → logits, by a PyTorch model: ``classifier`` or ``bert-base``."""
    import torch

    from tutorial_utils.models import finetuning

    module = {"classifier": finetuning.load, "bert-base": finetuning.bert_base}[model]()

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with scoped.torch_threads(machine.cores()), torch.inference_mode():
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            return module(**tensors).logits.numpy()

    return predict
