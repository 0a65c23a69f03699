"""The PyTorch model of a checkpoint: its weights, its inputs, and how much text it reads."""

import inspect
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from tutorial_utils.models import checkpoint as checkpoints
from tutorial_utils.models import positions, tokenizer
from tutorial_utils.models.checkpoint import BadClassifier, Checkpoint
from tutorial_utils.models.pooling import Pooled, Pooling
from tutorial_utils.runtime.batching import INPUTS

LONGEST = 512  # tokens, unless more are asked for: a single longer text fills a batch


def load(checkpoint: Checkpoint, pooling: Pooling | None):
    """The model, with all of its weights from the checkpoint: an encoder alone if it is pooled.

    Raises:
        BadClassifier: weights are missing or do not fit, or an adapter is beside them.
    """
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind = AutoModel if pooling else AutoModelForSequenceClassification
    with checkpoints.opening(checkpoint):
        model, report = kind.from_pretrained(
            checkpoint.source,
            config=checkpoint.config,
            revision=checkpoint.revision,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # to say below which they are
            output_loading_info=True,
        )
    encoder = "" if pooling else f"{model.base_model_prefix}."
    order = sorted(report["mismatched_keys"], key=lambda one: (not one[0].startswith(encoder), one))
    for name, found, wanted in order:  # the head is blamed only if all else fits
        sizes = {*wanted} - {*found}
        says = [k for k, v in vars(model.config).items() if type(v) is int and v in sizes]
        fix = (
            f"Correct {' or '.join(f'`{k}`' for k in says) or 'it'} in config.json, or give the one"
        )
        if not name.startswith(encoder):
            fix = (
                f"config.json names {len(checkpoint.labels)} label(s): if the head has another "
                "number, name each of its outputs in `id2label`; otherwise give the config.json"
            )
        raise BadClassifier(
            f"{checkpoint}: its weights do not fit config.json: {name} has the shape "
            f"{list(found)} instead of {list(wanted)}. {fix} that was saved with the weights."
        )
    _check_layers(checkpoint, model, report)
    if adapters := [name for name in report["unexpected_keys"] if "lora_" in name]:
        raise BadClassifier(
            f"{checkpoint} has an adapter beside its weights ({adapters[0]}). Merge it with "
            "merge_and_unload(), and save the result."
        )
    missing = sorted(report["missing_keys"])
    if pooling:  # BERT's pooler is not what is meant by pooling, and is not used
        missing = [name for name in missing if not name.startswith("pooler.")]
    if missing:
        raise BadClassifier(
            f"{checkpoint} has no trained {'encoder' if pooling else 'classification head'}, or "
            f"some weights are missing: {len(missing)} would be random ({', '.join(missing[:4])}). "
            "Fine-tune it first, and save it with model.save_pretrained(folder)."
        )
    return model.eval()


def _check_layers(checkpoint: Checkpoint, model, report: Mapping[str, Collection[str]]) -> None:
    """Layers are parameters whose names differ in a number. Raises BadClassifier."""

    def count(names: Iterable[str]) -> Counter[str]:
        return Counter(re.sub(r"(?<=\.)\d+(?=\.)", "#", name) for name in names)

    wanted, missing = count(model.state_dict()), count(report["missing_keys"])
    more = count(report["unexpected_keys"])
    field = model.config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    whole = 2 * len(missing) > sum("#" in name for name in wanted)  # not one lost weight
    for name, number in wanted.items():
        held = number - missing[name] + more[name]
        if held > number or (0 < held < number and whole):
            raise BadClassifier(
                f"{checkpoint}: config.json says {number} layers, but the weights hold "
                f"{held} ({name}). Correct `{field}`, or give the config.json that "
                "was saved with the weights. To leave out layers, save the smaller model with "
                "save_pretrained."
            )


def longest(
    checkpoint: Checkpoint, model, token: int, by_tokenizer: int, pooling: Pooling | None
) -> int:
    """The most tokens that model and tokenizer can read; ``LONGEST`` if neither has a limit.

    token: id of an ordinary one. by_tokenizer: its ``model_max_length``.

    Raises:
        BadClassifier: the model does not answer, or with more than one tensor.
    """
    from transformers.tokenization_utils_base import LARGE_INTEGER

    with checkpoints.opening(checkpoint):
        answering = Pooled(model, pooling) if pooling else model
        tables, outputs = positions.read(answering, token)
    if len(outputs) != 1:
        raise BadClassifier(f"{checkpoint} returns {', '.join(outputs)} instead of logits only.")
    by_folder = pooling.max_length if pooling else None
    by_model = tables or getattr(model.config, "max_position_embeddings", None)
    limits = (by_model, by_folder or by_tokenizer)
    numbers = (limit for limit in limits if isinstance(limit, (int, float)))
    return min((int(n) for n in numbers if 0 < n < LARGE_INTEGER), default=LONGEST)


def inputs(checkpoint: Checkpoint, model) -> tuple[str, ...]:
    """What the model takes. Segments only if it has as many as the tokenizer numbers in a pair."""
    takes = inspect.signature(model.forward).parameters
    reader = tokenizer.prepared(checkpoint.source, checkpoint.revision, LONGEST)
    segments = max(reader.encode("a", "b").type_ids, default=0) + 1
    enough = segments <= getattr(model.config, "type_vocab_size", 0)
    return tuple(name for name in INPUTS if name in takes and (enough or name != INPUTS[-1]))
