"""What the files of a checkpoint say before its weights are read: which head it has, or why not."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutorial_utils.core import scoped
from tutorial_utils.core.errors import InvalidArgument, TutorialError
from tutorial_utils.models import labels, pooling, weights
from tutorial_utils.models.pooling import Pooling

HEAD = "ForSequenceClassification"
# How the architectures end whose encoder can give vectors. Their own heads are not used.
ENCODERS = ("Model", "ForMaskedLM", "ForPreTraining")
_OTHERS = {  # how an architecture's name ends → what it is for
    "ForTokenClassification": "a label for each token",
    "ForQuestionAnswering": "the place of an answer in a text",
    "ForMultipleChoice": "one of several continuations",
    "ForCausalLM": "generating text", "LMHeadModel": "generating text",
    "ForConditionalGeneration": "generating text",
}  # fmt: skip
_MARKS = ("config.json", "adapter_config.json", "modules.json")  # one of them is in a folder
# What a config may ask of each run. Here a run returns logits by name, and nothing else.
_PLAIN = {
    "output_hidden_states": False, "output_attentions": False, "output_router_logits": False,
    "return_dict": True, "torchscript": False, "use_cache": False, "use_mems_eval": False,
    "chunk_size_feed_forward": 0, "gradient_checkpointing": False,
}  # fmt: skip
_POINTER = b"version https://git-lfs"  # how a file begins that Git LFS has not fetched
# Ways to compute attention whose packages may be missing; and the number of `id2label`.
_DROPPED = ("attn_implementation", "_attn_implementation", "reference_compile", "num_labels")


class BadClassifier(TutorialError, ValueError):
    """What was given is not a trained encoder classifier with a fast tokenizer."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is supported. Printed, it is its name.

    source: its folder, or its name on the hub. config: the library's object, without what would
    change the outputs. architecture: its class, "" if it is not named. labels, task: of the head.
    pooling: of a folder of sentence-transformers. revision: the commit on the hub.
    """

    source: str
    config: Any
    architecture: str
    labels: tuple[str, ...]
    task: str
    pooling: Pooling | None
    revision: str | None

    def __str__(self) -> str:
        return name_of(self.source)


def read(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Read the config of a folder, or of a name on the hub, and check whether it is supported.

    revision: commit on the hub; by default the newest.

    Raises:
        BadClassifier: there is no such model, it is of another kind, or a field is wrong.
    """
    from transformers import AutoConfig, PreTrainedConfig
    from transformers.utils import cached_file, resolve_revision
    from transformers.utils.peft_utils import find_adapter_config_file

    source = str(source)
    name, folder = name_of(source), Path(source).is_dir()
    _check_folder(Path(source), source)
    revision = revision or getattr(resolve_revision(source), "resolved", None)

    def content(file: str) -> Any:
        try:
            path = cached_file(source, file, revision=revision)
        except OSError:  # there is none, or the hub cannot be reached
            return {}
        return json.loads(Path(str(path)).read_text(encoding="utf-8"))

    with opening(name):
        # With neither, the hub cannot be reached or has no such model; the config's error says so.
        there = folder or revision
        inside, pools = (pooling.read(content) if there else None) or ("", None)
        source = str(Path(source, inside)) if inside and folder else source
        _check_pulled(Path(source))
        adapter = there and find_adapter_config_file(source, revision=revision)
        read = PreTrainedConfig.get_config_dict
        given = {} if adapter else dict(read(source, revision=revision)[0])
    if adapter:
        raise BadClassifier(
            f"{name} is a PEFT adapter (adapter_config.json), not a whole model. Merge it first: "
            "AutoPeftModelForSequenceClassification.from_pretrained(folder).merge_and_unload()"
            ".save_pretrained(merged), and save the tokenizer into `merged` too."
        )
    _check_weights(given, name)
    architecture = _check_head(given, name, pools is not None)
    kept = {key: value for key, value in given.items() if key not in _DROPPED}
    kept |= {key: value for key, value in _PLAIN.items() if key in given}
    with opening(name):
        encoder = pools or architecture.endswith(ENCODERS)  # its labels are left over
        names = () if encoder else labels.names_of(given)
        task = "embedding" if encoder else labels.task_of(given, names)
        numbers: dict[int, str] = dict(enumerate(names))
        kept |= {"id2label": numbers, "label2id": {name: i for i, name in numbers.items()}}
        config = AutoConfig.for_model(**kept)
    return Checkpoint(source, config, architecture, names, task, pools, revision)


@contextmanager
def opening(name: object) -> Iterator[None]:
    """Whatever the library raises inside, it means that the model cannot be opened."""
    try:
        with scoped.quiet_transformers():
            yield
    except InvalidArgument as error:
        raise BadClassifier(f"{name}: {error}.") from None
    except Exception as error:  # half-written files and the hub make it raise many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadClassifier(
            f"{name} cannot be opened ({reason}). Give a folder written by save_pretrained, or a "
            "name on the hub if this machine can reach it."
        ) from None


def name_of(source: str) -> str:
    """What people call it: the name of a folder, or the name on the hub."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def _check_folder(path: Path, source: str) -> None:
    """A missing folder is not looked for on the hub."""
    marks = {"/", os.sep}
    ends = source.startswith((".", "~", *marks)) or source.endswith(tuple(marks))
    beside = path.parent != Path(".") and path.parent.is_dir()
    if path.is_file():
        raise BadClassifier(f"{source} is a file. Give the folder that holds config.json.")
    if path.is_dir():
        if not any((path / name).exists() for name in _MARKS):
            inside = [p.parent.name for p in sorted(path.glob("*/config.json"))]
            listed = ", ".join(inside[:10]) + (", …" if len(inside) > 10 else "")
            one = f"one of its {len(inside)} folders" if len(inside) > 1 else "its folder"
            fix = f"Give {one} {listed}" if inside else "Give a folder of save_pretrained"
            raise BadClassifier(
                f"{name_of(source)} cannot be opened: it has no config.json. {fix}."
            )
    elif ends or beside or sum(map(source.count, marks)) > 1:
        raise BadClassifier(f"There is no folder {source}. Check its path.")


def _check_pulled(folder: Path) -> None:
    for file in (*weights.files(folder), *folder.glob("*.json"), *folder.glob("*.model")):
        if not file.is_file():
            continue
        with file.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                raise InvalidArgument(
                    f"{file.name} is a Git LFS pointer, not the file itself: install git-lfs, and "
                    "run `git lfs pull` in the folder"
                )


def _check_weights(config: Mapping[str, Any], name: str) -> None:
    for field in ("quantization_config", "compression_config"):
        if how := config.get(field):
            method = how.get("quant_method", how) if isinstance(how, dict) else how
            raise BadClassifier(
                f"{name}: its weights are already quantized (`{field}` in config.json: {method}). "
                "Give the checkpoint that they were made from, in fp32, fp16 or bf16; `optimize` "
                "quantizes it. If you no longer have that one, load this one and save "
                "model.dequantize()."
            )
    if code := config.get("auto_map"):
        raise BadClassifier(
            f"{name} needs its own code (`auto_map` in config.json: {code}). Code that comes with "
            "a checkpoint (trust_remote_code) is never run here. Give a checkpoint of a family "
            "that Transformers supports. If it has this family and computes the same, remove "
            "`auto_map`."
        )


def _check_head(config: Mapping[str, Any], name: str, pools: bool) -> str:
    """The architecture, "" if it is not named. pools: it is used for vectors, whatever its head."""
    if not (family := config.get("model_type")) or not isinstance(family, str):
        raise BadClassifier(
            f"{name}: config.json has no `model_type`. Save the model with save_pretrained."
        )
    given = config.get("architectures") or []
    named = [str(one) for one in (given if isinstance(given, list) else [given])]
    others = {
        one: purpose for one in named for end, purpose in _OTHERS.items() if one.endswith(end)
    }
    known = [one for one in named if one.endswith((HEAD, *ENCODERS)) and one not in others]
    architecture = (known or named or [""])[0]
    if _generates(config):
        purpose = "generating text (a decoder), whatever its head"
    elif named and not known and not pools:
        purpose = others.get(architecture, "another task")
    else:
        return architecture  # without one, what the weights hold decides
    raise BadClassifier(
        f"{name} is a {architecture or family}, which is for {purpose}. Only encoders are "
        f"supported: with a trained head (…{HEAD}: classes, a score or numbers, for a text or a "
        "pair), or without one (vectors, see --pooling)."
    )


def _generates(config: Mapping[str, Any]) -> bool:
    """Is it a decoder? Those of the library can generate text, but not fill in masked words."""
    from transformers.models.auto import modeling_auto as known

    decoder = config["model_type"] in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    encoder = config["model_type"] in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    marked = config.get("is_decoder") or config.get("is_encoder_decoder")
    return bool(marked) or (decoder and not encoder)
