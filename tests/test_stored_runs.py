"""What lessons read from the stored runs, and the figure that adds up factors."""

import math

import pytest

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons import figures, stored_runs


def test_a_section_of_the_search_is_found_by_the_beginning_of_its_title():
    found = stored_runs.search("Workers")
    assert {"2 × 1 thread, 256", "2 × 1 thread, 1,024"} <= set(found.timings)
    assert found.verdict("2 × 1 thread, 1,024", "2 × 1 thread, 256").ratio > 0


@pytest.mark.parametrize("section", ["Session options", "Nothing"])
def test_a_title_that_is_missing_or_not_unique_is_refused(section):
    with pytest.raises(InvalidArgument, match=f"{section}.* begins"):
        stored_runs.search(section)


@pytest.mark.parametrize("table", ["1 × 24", "own", "ours"])
def test_peers_are_compared_with_ours(table):
    found = stored_runs.peers(table)
    assert found.verdict("ours int8", "ours int8").ratio == 1
    assert all(t.p50_ms > 0 for t in found.timings.values())


def test_an_unknown_table_of_peers_is_refused():
    with pytest.raises(InvalidArgument, match="only 1 × 24"):
        stored_runs.peers("2 × 24")


def test_the_bars_of_factors_add_up_to_that_of_the_whole():
    fig = figures.factors({"start": 10.0, "a": 40.0, "b": 60.0, "c": 50.0}, "title", first=1)
    *steps, whole = fig.axes[0].patches
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in steps]
    assert math.prod(right / left for left, right in ends) == pytest.approx(5)
    assert (whole.get_x(), whole.get_x() + whole.get_width()) == (10, 50)
    assert "× 5.0" in {text.get_text() for text in fig.axes[0].texts}
