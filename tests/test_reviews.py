"""The real sentences. The archive's hash fixes the numbers in these tests."""

import re

import numpy as np
import pytest

from tutorial_utils.data import reviews

pytestmark = pytest.mark.built


def test_labels_follow_the_ratings_and_none_is_ambiguous():
    movies = reviews.load("movies")
    assert len(movies) == 10_070
    assert np.array_equal(movies.labels, movies.ratings > 0)
    assert np.abs(movies.ratings).min() >= reviews.AMBIGUOUS
    assert 0.45 < movies.labels.mean() < 0.55


@pytest.mark.parametrize("domain", reviews.FILES)
def test_every_domain_loads_with_distinct_sentences(domain):
    loaded = reviews.load(domain)
    assert len(loaded) > 1_000
    assert len(set(loaded.texts)) == len(loaded.texts)


def test_no_sentence_is_in_two_splits_even_with_other_case_or_punctuation():
    splits = reviews.splits()
    parts = [splits.train, splits.validation, splits.test]
    words = [{" ".join(re.findall(r"[a-z0-9]+", t.lower())) for t in p.texts} for p in parts]
    assert len(splits.test) >= 2_000
    assert sum(map(len, words)) == len(set.union(*words)) == len(reviews.load("movies"))


def test_the_split_does_not_depend_on_the_order_of_the_file(monkeypatch):
    test = set(reviews.splits().test.texts)
    original = reviews.load
    monkeypatch.setattr(
        reviews, "load", lambda domain: original(domain).take(range(len(original(domain)))[::-1])
    )
    assert set(reviews.splits().test.texts) == test


def test_encoding_is_the_models_own_and_is_truncated():
    assert reviews.encode(["A joy."])[0] == [101, 1037, 6569, 1012, 102]
    (row,) = reviews.encode(["word " * 300], max_length=16)
    assert len(row) == 16
    assert (row[0], row[-1]) == (101, 102)
