"""Quantization-aware training with PyTorch's PT2E: the model is trained with rounding in it.

Export. ``prepare_qat_pt2e`` inserts fake quantization (round, then back to float) before each
product. A short training uses PyTorch's fp32 answers as the target. Then either ``convert_pt2e``
gives Q/DQ in ONNX, or only the weights are used, with the dynamic quantizer.
"""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import BertForSequenceClassification

from tutorial_utils.core import scoped
from tutorial_utils.graph import export
from tutorial_utils.models import finetuning

LONGEST = 512  # BERT's positions


@dataclass(frozen=True)
class Tuning:
    """Settings of the training; few steps, because the weights need only small changes."""

    steps: int = 60
    batch: int = 32
    learning_rate: float = 2e-5
    seed: int = 0


class _Logits(torch.nn.Module):
    """The classifier with its logits as the only output."""

    def __init__(self, model: BertForSequenceClassification):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        answer = self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        return getattr(answer, "logits", answer)


def prepared(model: BertForSequenceClassification, dynamic: bool = False) -> torch.nn.Module:
    """The model as a graph with fake quantization: inputs of products uint8, weights int8.

    dynamic: compute the ranges of activations in each call, like the dynamic quantizer; otherwise
    they are moving averages that ``converted`` turns into constants.
    """
    quiet = scoped.log_level("torch.utils._pytree", logging.ERROR)
    with warnings.catch_warnings(), export.quiet_exporter(), quiet:
        warnings.simplefilter("ignore")
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", max=LONGEST)
        inputs = export.example_inputs()
        shapes = {name: {0: batch, 1: sequence} for name in inputs}
        graph = torch.export.export(_Logits(model), (), inputs, dynamic_shapes=shapes).module()
        config = x86.get_default_x86_inductor_quantization_config(is_qat=True, is_dynamic=dynamic)
        return prepare_qat_pt2e(graph, x86.X86InductorQuantizer().set_global(config))


def train(
    graph: torch.nn.Module,
    teacher: torch.nn.Module,
    ids: list[list[int]],
    tuning: Tuning = Tuning(),
    progress: bool = True,
) -> torch.nn.Module:
    """Train a prepared graph in place to answer like ``teacher``; return it.

    ids: token ids of training texts; their labels are not needed.
    """
    generator = np.random.default_rng(tuning.seed)
    plan: list[np.ndarray] = []
    while len(plan) < tuning.steps:
        plan += finetuning.batches(ids, tuning.batch, generator)
    optimizer = torch.optim.AdamW(graph.parameters(), tuning.learning_rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, tuning.steps)
    bar = tqdm(plan[: tuning.steps], "Tuning with 8 bits", disable=not progress, ascii=True)
    for batch in bar:
        inputs = finetuning.pad([ids[i] for i in batch])
        with torch.no_grad():
            target = teacher(**inputs).logits
        loss = torch.nn.functional.mse_loss(graph(**inputs), target)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return graph


def converted(graph: torch.nn.Module, target: Path) -> Path:
    """Write a trained graph as ONNX with QuantizeLinear and DequantizeLinear."""
    from torchao.quantization.pt2e import allow_exported_model_train_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = convert_pt2e(graph)
        # An exported graph refuses ``eval``, which the exporter to ONNX calls.
        allow_exported_model_train_eval(quantized)
        return export.export(_Logits(quantized), target)


def tuned_weights(
    graph: torch.nn.Module, model: BertForSequenceClassification
) -> BertForSequenceClassification:
    """Copy the weights of a trained graph into ``model``, to be quantized later."""
    trained = dict(graph.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(trained[f"model.{name}"])
    return model
