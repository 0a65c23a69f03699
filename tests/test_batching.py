import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_utils.runtime import batching

lengths = st.lists(st.integers(1, 200), max_size=60)


@given(lengths, st.integers(1, 500), st.booleans())
def test_token_budget_batches_hold_each_sentence_once_and_keep_the_budget(lengths, budget, sort):
    batches = batching.by_tokens(lengths, budget, by_length=sort)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(lengths, st.integers(1, 500))
def test_no_batch_could_have_taken_the_next_shortest_sentence(lengths, budget):
    batches = batching.by_tokens(lengths, budget)
    for batch, following in itertools.pairwise(batches):
        first = min(following, key=lambda i: lengths[i])
        assert (len(batch) + 1) * lengths[first] > budget


@given(lengths, st.integers(1, 500))
def test_unsorted_batches_keep_the_order_and_are_full(lengths, budget):
    batches = batching.by_tokens(lengths, budget, by_length=False)
    assert [i for batch in batches for i in batch] == list(range(len(lengths)))
    for batch, following in itertools.pairwise(batches):
        widest = max(lengths[i] for i in [*batch, following[0]])
        assert (len(batch) + 1) * widest > budget


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(1, 500), st.booleans())
def test_the_next_batch_is_that_of_the_shortest_text_or_of_the_oldest(lengths, budget, late):
    batch = batching.next_batch(lengths, budget, late)
    assert batch in batching.by_tokens(lengths, budget)
    assert (0 if late else min(range(len(lengths)), key=lengths.__getitem__)) in batch


def test_padding_waste_by_hand():
    # Two batches: 3 + 1 tokens in 2 × 3 places, 2 tokens in 1 × 2 places.
    assert batching.padding_waste([3, 1, 2], [[0, 1], [2]]) == pytest.approx(2 / 8)
    assert batching.padding_waste([], []) == 0


@given(st.lists(st.tuples(*[st.integers(1, 60)] * 4), min_size=1, max_size=15))
def test_sorting_never_wastes_more_than_the_order_of_arrival(groups):
    # Whole batches only: a last one that is not full can happen to hold the longest sentence.
    size, lengths = 4, [length for group in groups for length in group]
    ordered = sorted(range(len(lengths)), key=lengths.__getitem__)
    as_sorted = [[ordered[i] for i in batch] for batch in batching.in_order(len(lengths), size)]
    arrived = batching.in_order(len(lengths), size)
    waste = batching.padding_waste
    assert waste(lengths, as_sorted) <= waste(lengths, arrived) + 1e-12


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), max_size=30), st.integers(1, 40)
)
def test_answers_come_in_the_order_of_the_rows(rows, budget):
    batches = batching.by_tokens([len(row) for row in rows], budget)
    answers = batching.run(lambda inputs: inputs["input_ids"].sum(axis=1), rows, batches)
    assert list(answers) == [sum(row) for row in rows]


def test_padding_is_masked_and_as_wide_as_asked():
    inputs = batching.pad([[5, 6, 7], [8]], width=4)
    assert inputs["input_ids"].tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert not inputs["token_type_ids"].any()
    assert {array.dtype for array in inputs.values()} == {np.dtype("int64")}


@pytest.mark.parametrize("batches", [[[0]], [[0, 0]], [[0, 1, 2]]])
def test_batches_that_lose_or_repeat_a_row_are_refused(batches):
    with pytest.raises(ValueError, match="each of the 2 rows once"):
        batching.run(lambda inputs: inputs["input_ids"], [[1], [2]], batches)


def test_a_budget_below_one_token_is_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        batching.by_tokens([1], 0)
