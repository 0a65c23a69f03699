"""Every tokenizer is set up alike, whatever its file says about padding and truncation."""

import pytest

from tests.service import bytes_as_tokens
from tutorial_utils.runtime import tokenization


@pytest.fixture
def file(tmp_path):
    """A tokenizer file that pads to 8 tokens and truncates to 4, from the left."""
    tokenizer = bytes_as_tokens()
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(4, direction="left")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize("max_length", [None, 5])
def test_texts_are_not_padded_and_lose_their_end_only(file, max_length):
    whole = bytes_as_tokens().encode("abcdef").ids
    inside, end = whole[:-1], whole[-1:]  # the last one is a special token
    short, long = tokenization.encode(tokenization.load(file, max_length), ["a", "abcdef"])
    assert short == whole[:2] + end
    assert long == (whole if max_length is None else inside[: max_length - 1] + end)
