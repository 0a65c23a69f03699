"""How the vectors of a text's tokens become one: as its folder says, or as the caller does.

sentence-transformers lists the modules of a model in ``modules.json``. Of these, Transformer,
Pooling and Normalize are computed here, in this order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tutorial_utils.core.errors import InvalidArgument

_MODULES = ["Transformer", "Pooling", "Normalize"]
_OLDER = {
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max", "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken",
}  # fmt: skip
_FAMILIES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")


@dataclass(frozen=True)
class Pooling:
    """mode: one of ``MODES``. normalize: whether a vector gets the length 1.

    Of a folder of sentence-transformers also: max_length: tokens that it truncates texts to.
    lowercase: whether it lowers their case. prompts: name → what callers put before texts.
    """

    mode: str
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False
    prompts: tuple[tuple[str, str], ...] = ()


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (hidden * (mask / mask.sum(1, keepdim=True).clamp(min=1))).sum(1)  # no large sum in fp16


def _first(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0]


def _largest(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(mask == 0, -1e4).amax(1)  # fp16 has no -1e9


MODES = {"mean": _mean, "cls": _first, "max": _largest}


class Pooled(torch.nn.Module):
    """An encoder that returns ``embedding`` only: a vector of each text, (n, width).

    Padding is on the right, where it moves no position, so a vector is that of the text alone.
    """

    def __init__(self, encoder: torch.nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, input_ids, attention_mask, token_type_ids=None) -> dict[str, torch.Tensor]:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        given |= {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.encoder(**given).last_hidden_state
        vectors = MODES[self.pooling.mode](hidden, attention_mask.unsqueeze(-1).to(hidden.dtype))
        if self.pooling.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return {"embedding": vectors}


def read(get: Callable[[str], Any]) -> tuple[str, Pooling] | None:
    """Where the encoder is in a folder of sentence-transformers, and how it pools.

    get: the object in a JSON file; {} if there is none. None: there are no modules, or the only
    one is the Transformer, as in a cross-encoder.

    Raises:
        InvalidArgument: another module or way of pooling. The message names it.
    """
    modules = get("modules.json")
    kinds = [module["type"] for module in modules]
    short = [kind.rpartition(".")[2] for kind in kinds]
    theirs = all(kind.startswith("sentence_transformers.") for kind in kinds)
    if not kinds or (theirs and short == ["Transformer"]):
        return None
    if not theirs or short not in (_MODULES[:2], _MODULES):
        raise InvalidArgument(
            f"modules.json lists {', '.join(short if theirs else kinds)}, but only Transformer, "
            "Pooling and Normalize of sentence-transformers are supported, in this order. Save the "
            "model without the others, and apply them to its vectors yourself"
        )
    paths = [f"{module['path']}/" if module["path"] else "" for module in modules]
    given = get(f"{paths[1]}config.json")
    # Older files have a field for each way, and several ways can be true.
    ways = given.get("pooling_mode") or [k for k, v in given.items() if k in _OLDER and v is True]
    ways = [ways] if isinstance(ways, str) else [_OLDER.get(way, way) for way in ways]
    if len(ways) != 1 or ways[0] not in MODES or given.get("include_prompt", True) is not True:
        told = " and ".join(map(str, ways)) or "nothing"
        told += "" if given.get("include_prompt", True) else " without the prompt's tokens"
        raise InvalidArgument(
            f"{paths[1]}config.json pools by {told}, but only {', '.join(MODES)} are supported, "
            "over all tokens"
        )
    files = (get(f"{paths[0]}sentence_{family}_config.json") for family in _FAMILIES)
    reading: dict[str, Any] = next(filter(None, files), {})
    length = reading.get("max_seq_length")
    if length is not None and not (isinstance(length, int) and length > 0):
        raise InvalidArgument(f"max_seq_length is {length!r}: give a number of tokens")
    prompts = get("config_sentence_transformers.json").get("prompts") or {}
    return paths[0].removesuffix("/"), Pooling(
        ways[0],
        normalize="Normalize" in short,
        max_length=length,
        lowercase=bool(reading.get("do_lower_case")),
        prompts=tuple((name, text) for name, text in prompts.items() if text),
    )
