"""The texts of the load runs: real sentences, and long texts made of them."""

import functools
import itertools

from tutorial_utils.data import reviews
from tutorial_utils.models.labelling import sentences

MANY = 800


def bodies(texts: int) -> list[dict]:
    """Requests of ``texts`` test sentences each."""
    given = sentences("test", MANY)
    return [{"texts": list(given[i : i + texts])} for i in range(0, len(given), texts)]


@functools.cache
def short_texts() -> list[str]:
    """Sentences of at most 24 tokens."""
    given = sentences("test", MANY)
    rows = reviews.encode(given)
    return [text for text, row in zip(given, rows, strict=True) if len(row) <= 24]


@functools.cache
def long_texts(tokens: int, count: int = 40) -> list[str]:
    """Texts of at least ``tokens`` tokens, made of sentences; the model truncates them to 512."""
    given = itertools.cycle(sentences("test", MANY))
    made = []
    for _ in range(count):
        parts, length = [], 0
        while length < tokens:
            parts.append(next(given))
            length += len(reviews.encode(parts[-1:])[0]) - 2  # without [CLS] and [SEP]
        made.append(" ".join(parts))
    return made


@functools.cache
def mixed_texts() -> list[str]:
    """Nine short texts, then a long one of about 200 tokens, and so on."""
    short, long = itertools.cycle(short_texts()), long_texts(200)
    return [text for item in long for text in [*itertools.islice(short, 9), item]]
