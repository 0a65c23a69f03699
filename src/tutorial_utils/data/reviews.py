"""The labelled sentences: load, split, encode.

Data: C.J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text", ICWSM 2014 (MIT licence). Each sentence carries the mean rating in [-4, 4] of
at least 20 people.
"""

import functools
import hashlib
import re
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from tutorial_utils.data import assets
from tutorial_utils.runtime import tokenization

FILES = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "news": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
LABELS = ("negative", "positive")
AMBIGUOUS = 0.5  # a mean rating nearer to zero than this has no clear label
TEST_SENTENCES = 2_000
VALIDATION_SENTENCES = 500


@dataclass(frozen=True)
class Reviews:
    """Sentences with their labels (0 negative, 1 positive) and mean ratings, index by index."""

    texts: tuple[str, ...]
    labels: np.ndarray  # int64, shape (n,)
    ratings: np.ndarray  # float32, shape (n,), in [-4, 4]

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"Reviews({len(self)} sentences, {self.labels.mean():.0%} positive)"

    def take(self, indices) -> "Reviews":
        """The sentences at ``indices``, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        texts = tuple(self.texts[i] for i in indices)
        return Reviews(texts, self.labels[indices], self.ratings[indices])


@dataclass(frozen=True)
class Splits:
    """Disjoint parts of the movie sentences."""

    train: Reviews
    validation: Reviews
    test: Reviews


def load(domain: str = "movies") -> Reviews:
    """All clearly labelled, distinct sentences of one domain: one of ``FILES``."""
    raw = (assets.fetch(assets.SENTENCES) / FILES[domain]).read_text(encoding="latin-1")
    ratings: dict[str, tuple[str, float]] = {}
    for line in raw.split("\n"):
        if not line.strip():
            continue
        _, rating, text = line.rstrip("\r").split("\t", 2)
        if abs(float(rating)) >= AMBIGUOUS and _identity(text):
            # Of equal sentences one is kept: the same sentence in two splits would be a leak.
            ratings.setdefault(_identity(text), (text.strip(), float(rating)))
    texts = tuple(text for text, _ in ratings.values())
    mean = np.array([rating for _, rating in ratings.values()], dtype=np.float32)
    return Reviews(texts, (mean > 0).astype(np.int64), mean)


def splits() -> Splits:
    """Fixed split of the movie sentences: the part of a sentence depends on its text only."""
    reviews = load("movies")
    order = sorted(range(len(reviews)), key=lambda i: _bucket(reviews.texts[i]))
    held_out = TEST_SENTENCES + VALIDATION_SENTENCES
    return Splits(
        train=reviews.take(order[held_out:]),
        validation=reviews.take(order[TEST_SENTENCES:held_out]),
        test=reviews.take(order[:TEST_SENTENCES]),
    )


@functools.cache
def tokenizer(max_length: int | None = None) -> Tokenizer:
    """The encoder's own tokenizer, without padding; cuts to ``max_length`` tokens when given."""
    return tokenization.load(assets.fetch(assets.ENCODER) / "tokenizer.json", max_length)


def encode(texts, max_length: int = 128) -> list[list[int]]:
    """Token ids of each text, ``[CLS] … [SEP]``, cut to ``max_length`` tokens, not padded."""
    return tokenization.encode(tokenizer(max_length), texts)


def _identity(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def _bucket(text: str) -> str:
    return hashlib.sha256(_identity(text).encode()).hexdigest()
