"""Turn texts into token ids, with one setup for every tokenizer. Needs only ``tokenizers``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tokenizers import Tokenizer

Text: TypeAlias = str | tuple[str, str]  # a text, or two that are read together


class Row(list[int]):
    """Token ids with more than their numbers.

    segments: 0 or 1 for each token (``token_type_ids``); None: all are 0. cut: the text was longer.
    """

    segments: Sequence[int] | None = None
    cut = False


def load(file: Path, max_length: int | None = None) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``, set up as in ``prepare``."""
    return prepare(Tokenizer.from_file(str(file)), max_length)


def prepare(
    tokenizer: Tokenizer, max_length: int | None = None, side: str | None = None
) -> Tokenizer:
    """Switch padding off, and truncate to ``max_length`` tokens; None: never truncate.

    side: where tokens are cut off, ``right`` or ``left``; by default as the tokenizer's file says.
    Changes the tokenizer and returns it. What its file says about padding is lost: batches are
    padded later, to the width of their longest text.
    """
    side = side or (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.no_padding()
    if max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_length, direction=side)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[Text]) -> list[list[int]]:
    """Token ids of each text, special tokens included.

    Each is a ``Row`` if it was cut, and all are if not all segments are 0.
    """
    encodings = tokenizer.encode_batch(list(texts))
    pairs = any(isinstance(text, tuple) for text in texts)
    # Some families (Funnel) give the special tokens of single texts a segment of their own.
    segmented = pairs or (encodings and any(encodings[0].type_ids))
    longest = (tokenizer.truncation or {}).get("max_length")
    rows: list[list[int]] = []
    for encoding in encodings:
        ids = encoding.ids
        # What was cut off is copied when it is asked for, so only where there may be something.
        cut = len(ids) == longest and bool(encoding.overflowing)
        if segmented or cut:
            ids = Row(ids)
            ids.segments, ids.cut = encoding.type_ids if segmented else None, cut
        rows.append(ids)
    return rows
