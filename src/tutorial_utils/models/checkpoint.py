"""What the files of a checkpoint say before its weights are read: which head it has, or why not."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutorial_utils.core import scoped
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.models import labels

SUPPORTED = {"ForSequenceClassification": "classes, a score or numbers, for a text or a pair"}
_OTHERS = {  # how an architecture's name ends → what it is for; the first that fits counts
    "ForTokenClassification": "a label for each token",
    "ForQuestionAnswering": "the place of an answer in a text",
    "ForMultipleChoice": "one of several continuations",
    "ForMaskedLM": "filling in masked words",
    "ForCausalLM": "generating text", "LMHeadModel": "generating text",
    "ForConditionalGeneration": "generating text",
    "Model": "vectors: an encoder without a head, so there is no trained classification head",
}  # fmt: skip
# What a config may ask of each run. Here a run returns logits by name, and nothing else.
_PLAIN = {
    "output_hidden_states": False, "output_attentions": False, "output_router_logits": False,
    "return_dict": True, "torchscript": False, "use_cache": False, "use_mems_eval": False,
    "chunk_size_feed_forward": 0, "gradient_checkpointing": False,
}  # fmt: skip
# Ways to compute attention whose packages may be missing; and the number of `id2label`.
_DROPPED = ("attn_implementation", "_attn_implementation", "reference_compile", "num_labels")


class BadClassifier(TutorialError, ValueError):
    """What was given is not a trained encoder classifier with a fast tokenizer."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint with a head that is supported. Printed, it is its name.

    source: its folder, or its name on the hub. config: the library's object, without what would
    change the outputs. labels, task: of the head. revision: the commit on the hub.
    """

    source: str
    config: Any
    labels: tuple[str, ...]
    task: str
    revision: str | None

    def __str__(self) -> str:
        return _name(self.source)


def read(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Read the config of a folder, or of a name on the hub, and check whether it is supported.

    revision: commit on the hub; by default the newest.

    Raises:
        BadClassifier: there is no such model, it is of another kind, or a field is wrong.
    """
    from transformers import AutoConfig, PreTrainedConfig
    from transformers.utils import resolve_revision
    from transformers.utils.peft_utils import find_adapter_config_file

    source = str(source)
    name, folder = _name(source), Path(source).is_dir()
    _check_folder(Path(source), source)
    revision = revision or getattr(resolve_revision(source), "resolved", None)
    with opening(name):
        # With neither, the hub cannot be reached or has no such model; the config's error says so.
        adapter = (folder or revision) and find_adapter_config_file(source, revision=revision)
        read = PreTrainedConfig.get_config_dict
        given = {} if adapter else read(source, revision=revision)[0]
    if adapter:
        raise BadClassifier(
            f"{name} is a PEFT adapter (adapter_config.json), not a whole model. Merge it first: "
            "AutoPeftModelForSequenceClassification.from_pretrained(folder).merge_and_unload()"
            ".save_pretrained(merged), and save the tokenizer into `merged` too."
        )
    _check_weights(given, name)
    _check_head(given, name)
    try:
        names = labels.names_of(given)
        task = labels.task_of(given, names)
    except ValueError as error:
        raise BadClassifier(f"{name}: in config.json, {error}.") from None
    kept = {key: value for key, value in given.items() if key not in _DROPPED}
    plain = {key: value for key, value in _PLAIN.items() if key in given}
    numbers = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    with opening(name):
        config = AutoConfig.for_model(**kept | plain | numbers)
    return Checkpoint(source, config, names, task, revision)


@contextmanager
def opening(name: object) -> Iterator[None]:
    """Whatever the library raises inside, it means that the model cannot be opened."""
    try:
        with scoped.quiet_transformers():
            yield
    except Exception as error:  # half-written files and the hub make it raise many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadClassifier(
            f"{name} cannot be opened as a sequence classifier ({reason}). Give a folder written "
            "by save_pretrained, or a name on the hub where one can be reached."
        ) from None


def _name(source: str) -> str:
    return Path(source).resolve().name if Path(source).is_dir() else source


def _check_folder(path: Path, source: str) -> None:
    """A missing folder is not looked for on the hub."""
    marks = {"/", os.sep}
    ends = source.startswith((".", "~", *marks)) or source.endswith(tuple(marks))
    beside = path.parent != Path(".") and path.parent.is_dir()
    if path.is_file():
        raise BadClassifier(f"{source} is a file. Give the folder that holds config.json.")
    if path.is_dir():
        if not any((path / name).exists() for name in ("config.json", "adapter_config.json")):
            inside = [p.parent.name for p in sorted(path.glob("*/config.json"))]
            fix = f"Give its folder {inside[-1]}" if inside else "Give a folder of save_pretrained"
            raise BadClassifier(f"{_name(source)} cannot be opened: it has no config.json. {fix}.")
    elif ends or beside or sum(map(source.count, marks)) > 1:
        raise BadClassifier(f"There is no folder {source}. Check its path.")


def _check_weights(config: Mapping[str, Any], name: str) -> None:
    for field in ("quantization_config", "compression_config"):
        if how := config.get(field):
            method = how.get("quant_method", how) if isinstance(how, dict) else how
            raise BadClassifier(
                f"{name}: its weights are quantized already (`{field}` in config.json: {method}). "
                "Give the checkpoint that they were made from, in fp32, fp16 or bf16; `optimize` "
                "quantizes it. If you lost it, save model.dequantize() where it can be loaded."
            )
    if code := config.get("auto_map"):
        raise BadClassifier(
            f"{name} needs code of its own (`auto_map` in config.json: {code}). Code that comes "
            "with a checkpoint (trust_remote_code) is never run here. Give a checkpoint of a "
            "family that Transformers has. If it has this one and computes the same, remove "
            "`auto_map`."
        )


def _check_head(config: Mapping[str, Any], name: str) -> None:
    if not (family := config.get("model_type")) or not isinstance(family, str):
        raise BadClassifier(
            f"{name}: config.json has no `model_type`. Save the model with save_pretrained."
        )
    named = config.get("architectures") or []
    named = named if isinstance(named, list) else [named]
    supported = [one for one in named if _ending(one, SUPPORTED)]
    if named and not supported:
        purpose = _OTHERS.get(_ending(named[0], _OTHERS) or "", "another task")
    elif _generates(config):
        purpose = "generating text (a decoder), whatever its head"
    else:
        return  # without an architecture, what the weights hold decides
    heads = "; ".join(f"…{ending}: {what}" for ending, what in SUPPORTED.items())
    raise BadClassifier(
        f"{name} is a {(supported or named or [family])[0]}, which is for {purpose}. Supported are "
        f"encoders with one of these heads: {heads}. Fine-tune one and save it."
    )


def _ending(architecture: str, endings: Iterable[str]) -> str | None:
    return next((ending for ending in endings if str(architecture).endswith(ending)), None)


def _generates(config: Mapping[str, Any]) -> bool:
    """Is it a decoder? Those of the library can generate text, but not fill in masked words."""
    from transformers.models.auto import modeling_auto as known

    decoder = config["model_type"] in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    encoder = config["model_type"] in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    marked = config.get("is_decoder") or config.get("is_encoder_decoder")
    return bool(marked) or (decoder and not encoder)
