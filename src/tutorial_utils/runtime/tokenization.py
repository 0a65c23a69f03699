"""Texts to token ids: one set-up for every tokenizer. Needs only the package ``tokenizers``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tokenizers import Tokenizer

Text: TypeAlias = str | tuple[str, str]  # a text, or two that are read together


class Row(list[int]):
    """Token ids of a pair. segments: 0 or 1 for each token (``token_type_ids``)."""

    segments: Sequence[int] = ()


def load(file: Path, max_length: int | None = None) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``, set up as in ``prepare``."""
    return prepare(Tokenizer.from_file(str(file)), max_length)


def prepare(tokenizer: Tokenizer, max_length: int | None = None) -> Tokenizer:
    """Switch padding off, and truncate to ``max_length`` tokens at the end; None: never truncate.

    Changes the tokenizer and returns it. What its file says about padding and truncation is lost:
    batches are padded later, to the width of their longest text.
    """
    tokenizer.no_padding()
    if max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_length)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[Text]) -> list[list[int]]:
    """Token ids of each text, special tokens included; those of a pair are a ``Row``."""
    encodings = tokenizer.encode_batch(list(texts))
    if not any(isinstance(text, tuple) for text in texts):
        return [encoding.ids for encoding in encodings]
    rows: list[list[int]] = []
    for encoding in encodings:
        row = Row(encoding.ids)
        row.segments = encoding.type_ids
        rows.append(row)
    return rows
