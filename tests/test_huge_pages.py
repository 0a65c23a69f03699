"""Memory moved into huge pages holds what it held."""

import mmap
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_utils.runtime import huge_pages, session

LINUX = sys.platform.startswith("linux")
MAPS = """\
5500-5510 r--p 00000000 fe:00 1234                       /usr/bin/python3.11
55500000-55b00000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0001000000 rw-p 00000000 00:00 0
7f0002000000-7f0002001000 rw-p 00000000 00:00 0
7f0003000000-7f0004000000 rw-p 00000000 fe:00 99                 /a file/of two words
7f0005000000-7f0006000000 r--p 00000000 00:00 0
7f0007000000-7f0008000000 rw-s 00000000 00:01 7                  /dev/zero (deleted)
7ffc00000000-7ffc01000000 rw-p 00000000 00:00 0                  [stack]
"""


def test_heap_and_large_allocations_are_found_and_nothing_else(tmp_path):
    (tmp_path / "maps").write_text(MAPS)
    found = huge_pages.anonymous(tmp_path / "maps")
    assert found == [(0x55500000, 0x55B00000), (0x7F0000000000, 0x7F0001000000)]
    assert huge_pages.anonymous(tmp_path / "missing") == []


@pytest.mark.skipif(not LINUX, reason="only Linux lists a process's memory regions")
@given(st.integers(1, 6 * huge_pages.HUGE), st.integers(0, 255))
def test_the_bytes_stay_whatever_their_number(size, value):
    with mmap.mmap(-1, size) as memory:
        held = np.frombuffer(memory, np.uint8)
        held[:] = value
        start = held.ctypes.data
        moved = huge_pages.collapse([(start, start + size)])
        assert (held == value).all()
        assert moved % huge_pages.HUGE == 0
        assert moved <= size
        del held


@pytest.mark.skipif(not LINUX, reason="only Linux lists a process's memory regions")
def test_a_large_array_is_among_the_memory_of_the_process():
    array = np.ones(8 * huge_pages.HUGE, np.uint8)
    middle = array.ctypes.data + array.size // 2  # its ends may lie in regions of their own
    assert any(first <= middle < last for first, last in huge_pages.anonymous())


@given(
    st.lists(st.integers(0, 60), unique=True, max_size=12).map(sorted),
    st.lists(st.integers(0, 60), unique=True, max_size=12).map(sorted),
)
def test_added_memory_is_what_was_not_there_before(before, after):
    def spans(edges):
        return list(zip(edges[::2], edges[1::2], strict=False))

    def bytes_of(regions):
        return {byte for first, last in regions for byte in range(first, last)}

    found = huge_pages.added(spans(before), spans(after))
    assert bytes_of(found) == bytes_of(spans(after)) - bytes_of(spans(before))
    assert sum(last - first for first, last in found) == len(bytes_of(found))


def test_opening_a_session_leaves_the_memory_of_others_where_it_is(tiny_onnx, monkeypatch):
    array = np.ones(8 * huge_pages.HUGE, np.uint8)
    middle = array.ctypes.data + array.size // 2
    given_ = []
    monkeypatch.setattr(huge_pages, "collapse", given_.append)
    session.open_session(tiny_onnx, session.SessionRecipe(huge_pages=True))
    (regions,) = given_
    assert not any(first <= middle < last for first, last in regions)


def test_a_system_without_huge_pages_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert huge_pages.collapse([(0, 10 * huge_pages.HUGE)]) == 0
