"""The PyTorch side: fine-tune the classifier once, load it; make a BERT-base shape."""

import functools
import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import BertConfig, BertForSequenceClassification

from tutorial_utils.core import machine, paths, provenance, scoped
from tutorial_utils.data import assets, reviews


@dataclass(frozen=True)
class Training:
    """Settings of the fine-tuning. Changing one makes a stored classifier stale."""

    epochs: int = 2
    batch: int = 32
    learning_rate: float = 2e-4
    warmup: float = 0.1  # share of the steps over which the learning rate rises from zero
    dropout: float = 0.0  # a step with it takes far longer; F1 reaches its bound without
    sharpness: float = 2.0  # target probability = sigmoid(sharpness × mean rating)
    max_length: int = 64  # tokens; the longest training sentence is about that long
    seed: int = 0
    checkpoint_every: int = 100  # steps between two points from which a killed run continues


def classifier_folder() -> Path:
    """Where the fine-tuned classifier is stored."""
    return paths.home() / "classifier"


def load() -> BertForSequenceClassification:
    """The fine-tuned classifier in fp32, ready for inference; fine-tuned first when missing.

    Inputs: ``input_ids``, ``attention_mask``, ``token_type_ids``, int64 (batch, sequence).
    Output: ``logits``, float32 (batch, 2), in the order of ``reviews.LABELS``.
    """
    folder = finetune()
    with scoped.quiet_transformers():
        return BertForSequenceClassification.from_pretrained(folder).eval()


def bert_base() -> BertForSequenceClassification:
    """BERT-base with seeded random weights: for latency and size, which weights do not change."""
    with scoped.torch_seed(0):
        return BertForSequenceClassification(BertConfig()).eval()


def finetuned(training: Training = Training()) -> bool:
    """Whether the stored classifier was trained with these settings, from this data and code."""
    record = classifier_folder() / "training.json"
    if not record.exists():
        return False
    known = json.loads(record.read_text())
    return all(known.get(name) == value for name, value in made_by(training).items())


@functools.cache
def made_by(training: Training = Training()) -> dict:
    """What the fine-tuned weights depend on: settings, data, code and libraries."""
    pinned = {asset.name: asset.sha256 for asset in (assets.ENCODER, assets.SENTENCES)}
    code = provenance.of(_train)
    return {"settings": asdict(training), "assets": pinned, **asdict(code)}


def finetune(training: Training = Training()) -> Path:
    """Fine-tune the encoder on the movie sentences once; return the classifier's folder.

    A run that was killed continues from its last checkpoint. The targets are graded (a mean rating
    of 0.6 is a weaker "positive" than one of 3), which helped more here than another epoch.
    """
    folder = classifier_folder()
    with FileLock(paths.home() / "classifier.lock"):
        if not finetuned(training):
            # Loading warns about new weights and shows bars; both are expected here.
            with scoped.quiet_transformers(), scoped.torch_seed(training.seed):
                model = _train(training)
                model.save_pretrained(folder)
            record = made_by(training) | {"machine": str(machine.describe())}
            paths.write(folder / "training.json", json.dumps(record, indent=2))
            _checkpoint_path().unlink(missing_ok=True)
        tokenizer = folder / "tokenizer.json"
        if not tokenizer.exists():  # `optimize` needs it in the folder
            with paths.replacing(tokenizer) as temporary:
                shutil.copyfile(assets.fetch(assets.ENCODER) / "tokenizer.json", temporary)
    return folder


def batches(ids: list[list[int]], size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Batches of indices of rows of similar length, in random order: little padding, no bias."""
    jitter = generator.uniform(0, 3, len(ids))  # shuffles sentences of nearly equal length
    order = np.argsort([len(row) for row in ids] + jitter)
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    return [groups[i] for i in generator.permutation(len(groups))]


def pad(ids: list[list[int]]) -> dict[str, torch.Tensor]:
    """Token ids as model inputs, each int64 (batch, longest)."""
    rows = pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    mask = pad_sequence([torch.ones(len(row), dtype=torch.int64) for row in ids], batch_first=True)
    return {"input_ids": rows, "attention_mask": mask, "token_type_ids": torch.zeros_like(rows)}


def _train(training: Training) -> BertForSequenceClassification:
    model = BertForSequenceClassification.from_pretrained(
        assets.fetch(assets.ENCODER),
        num_labels=len(reviews.LABELS),
        id2label=dict(enumerate(reviews.LABELS)),
        hidden_dropout_prob=training.dropout,
        attention_probs_dropout_prob=training.dropout,
    )
    train = reviews.splits().train
    ids = reviews.encode(train.texts, training.max_length)
    positive = torch.sigmoid(training.sharpness * torch.from_numpy(train.ratings))
    targets = torch.stack([1 - positive, positive], dim=1)

    generator = np.random.default_rng(training.seed)
    plan = [b for _ in range(training.epochs) for b in batches(ids, training.batch, generator)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate(step, len(plan), training.warmup)
    )
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    start = _resume(training, parts)
    model.train()
    bar = tqdm(plan[start:], "Fine-tuning", len(plan), initial=start, ascii=True)
    for step, batch in enumerate(bar, start):
        logits = model(**pad([ids[i] for i in batch])).logits
        loss = torch.nn.functional.cross_entropy(logits, targets[batch])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % training.checkpoint_every == 0:
            _checkpoint(training, parts, step + 1)
    return model.eval()


def _learning_rate(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: a linear rise, then a cosine fall to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _checkpoint_path() -> Path:
    return paths.home() / "finetuning.pt"


def _checkpoint(training: Training, parts: dict, step: int) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "made by": made_by(training), "random": torch.get_rng_state()}
    with paths.replacing(_checkpoint_path()) as temporary:
        torch.save(state, temporary)


def _resume(training: Training, parts: dict) -> int:
    """Load the last checkpoint of these settings; return the step to go on from (0: none)."""
    path = _checkpoint_path()
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state.get("made by") != made_by(training):
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["random"])
    return state["step"]
