"""Every tokenizer is set up alike; its file says only on which side texts are truncated."""

import pytest

from tests.service import bytes_as_tokens, bytes_as_tokens_of_pairs
from tutorial_utils.runtime import batching, tokenization


@pytest.fixture
def file(tmp_path):
    """A tokenizer file that pads to 8 tokens and truncates to 4, from the left."""
    tokenizer = bytes_as_tokens()
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(4, direction="left")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize("side", [None, "left", "right"])
@pytest.mark.parametrize("max_length", [None, 5])
def test_texts_are_not_padded_and_truncated_on_one_side(file, max_length, side):
    whole = bytes_as_tokens().encode("abcdef").ids
    first, inside, last = whole[:1], whole[1:-1], whole[-1:]  # special tokens around the bytes
    tokenizer = tokenization.prepare(tokenization.load(file), max_length, side)
    if max_length and side is None:
        tokenizer = tokenization.load(file, max_length)  # as the file says: left
    short, long = tokenization.encode(tokenizer, ["a", "abcdef"])
    assert short == first + inside[:1] + last
    kept = inside[:3] if side == "right" else inside[3:]
    assert long == (first + kept + last if max_length else whole)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_says_that_its_text_was_cut_and_that_changes_no_input(side):
    tokenizer = tokenization.prepare(bytes_as_tokens_of_pairs(), 6, side)
    rows = tokenization.encode(tokenizer, ["abc", "abcd", "abcde", "abcdef" * 500])
    assert [len(row) for row in rows] == [5, 6, 6, 6]
    assert [getattr(row, "cut", False) for row in rows] == [False, False, True, True]
    assert batching.pad(rows)["token_type_ids"].sum() == 0
    pairs = tokenization.encode(tokenizer, [("a", "bc"), ("a", "bcd"), ("abcd", "b"), "abcde"])
    assert [row.cut for row in pairs] == [False, True, True, True]
    uncut = tokenization.prepare(bytes_as_tokens_of_pairs())
    assert not any(getattr(row, "cut", False) for row in tokenization.encode(uncut, ["a" * 999]))
