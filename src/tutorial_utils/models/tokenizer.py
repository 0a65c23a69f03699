"""The fast tokenizer of a checkpoint, checked against the way Transformers calls it."""

import functools
from pathlib import Path

from tokenizers import Tokenizer

from tutorial_utils.core import scoped
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.models import checkpoint as checkpoints
from tutorial_utils.models.checkpoint import BadClassifier, Checkpoint
from tutorial_utils.runtime import tokenization

_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "spm.model",
    "sentencepiece.bpe.model",
)  # fmt: skip


@functools.cache
def of_source(source: str, revision: str | None = None):
    """The library's own tokenizer object, always a fast one.

    Raises:
        BadClassifier: there is none, it cannot be opened, or it is a slow one.
    """
    from transformers import AutoTokenizer

    name, folder = checkpoints.read(source, revision), Path(source)
    fix = "Save it into the same folder with tokenizer.save_pretrained(folder)."
    try:
        with scoped.quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, config=name.config, revision=revision)
        # Without its files the library makes an empty tokenizer, to which every word is unknown.
        if tokenizer.is_fast and folder.is_dir() and not any((folder / f).exists() for f in _FILES):
            raise FileNotFoundError("there is no vocabulary file")
        if not isinstance(tokenizer.model_max_length, (int, float)):
            raise InvalidArgument(
                f"model_max_length is {tokenizer.model_max_length!r}, not a number"
            )
    except Exception as error:  # a half-written folder makes the library raise many kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        if pieces := next(folder.glob("*.model"), None):
            fix = (
                f"It has only a slow tokenizer ({pieces.name}). To convert it, pip install "
                "sentencepiece protobuf, then run AutoTokenizer.from_pretrained(folder)"
                ".save_pretrained(folder), which writes tokenizer.json."
            )
        raise BadClassifier(
            f"{name} has no tokenizer that can be opened ({reason}). {fix}"
        ) from None
    if not tokenizer.is_fast:
        raise BadClassifier(
            f"{name} has only a slow tokenizer ({type(tokenizer).__name__}, in Python), which "
            "Transformers cannot convert. Build one that gives the same tokens with the library "
            "`tokenizers`, and save it with PreTrainedTokenizerFast(tokenizer_object=…)"
            ".save_pretrained(folder)."
        )
    return tokenizer


def prepared(source: str, revision: str | None, max_length: int) -> Tokenizer:
    """The tokenizer for serving: no padding, and truncation on the side that the checkpoint names.

    It is a copy.
    """
    theirs = of_source(source, revision)
    copied = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    return tokenization.prepare(copied, max_length, theirs.truncation_side)


def check(checkpoint: Checkpoint, max_length: int) -> None:
    """Compare the prepared tokenizer with a call of the library's on a few texts and a pair.

    Raises:
        BadClassifier: the tokens differ, so settings outside ``tokenizer.json`` matter.
    """
    theirs = of_source(checkpoint.source, checkpoint.revision)
    ours = prepared(checkpoint.source, checkpoint.revision, max_length)
    special = " ".join(theirs.all_special_tokens)
    short, long = f" Été, from Start  {special} 1,5!", "one two " * max_length
    for given in ((short,), (long,), (short, long)):
        text = given if len(given) > 1 else given[0]
        (found,) = tokenization.encode(ours, [text])
        called = theirs(*given, truncation=True, max_length=max_length)
        segments = list(getattr(found, "segments", None) or [0] * len(found))
        if (found, segments) != (called["input_ids"], called.get("token_type_ids", segments)):
            raise BadClassifier(
                f"{checkpoint}: its tokenizer.json gives different tokens from Transformers "
                f"for {short!r}. A setting in tokenizer_config.json, such as "
                "`split_special_tokens`, changes them. Put it into tokenizer.json or remove it."
            )
