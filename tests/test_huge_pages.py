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
    heap = range(0x55600000, 0x55A00000, huge_pages.HUGE)  # its ends are not on a huge page's edge
    large = range(0x7F0000000000, 0x7F0001000000, huge_pages.HUGE)
    assert huge_pages.anonymous(tmp_path / "maps") == {*heap, *large}
    assert huge_pages.anonymous(tmp_path / "missing") == set()


def private(size: int) -> mmap.mmap:
    """Memory in one region of its own: an array's may be cut wherever the heap grew."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def whole_pages(held: np.ndarray) -> range:
    """The huge pages that lie wholly inside an array."""
    first = -(-held.ctypes.data // huge_pages.HUGE) * huge_pages.HUGE
    return range(first, held.ctypes.data + held.size - huge_pages.HUGE + 1, huge_pages.HUGE)


@pytest.mark.skipif(not LINUX, reason="only Linux lists a process's memory regions")
@given(st.integers(1, 6 * huge_pages.HUGE), st.integers(0, 255))
def test_the_bytes_stay_whatever_their_number(size, value):
    with private(size) as memory:
        held = np.frombuffer(memory, np.uint8)
        held[:] = value
        pages = whole_pages(held)
        assert huge_pages.anonymous().issuperset(pages)
        moved = huge_pages.collapse(pages)
        assert (held == value).all()
        assert moved % huge_pages.HUGE == 0
        assert moved <= size
        del held


@pytest.mark.skipif(not LINUX, reason="only Linux lists a process's memory regions")
def test_opening_a_session_leaves_the_memory_of_others_where_it_is(tiny_onnx, monkeypatch):
    with private(8 * huge_pages.HUGE) as memory:
        held = np.frombuffer(memory, np.uint8)
        given_ = []
        monkeypatch.setattr(huge_pages, "collapse", given_.append)
        session.open_session(tiny_onnx, session.SessionRecipe(huge_pages=True))
        (pages,) = given_
        assert not pages.intersection(whole_pages(held))
        del held


def test_a_system_without_huge_pages_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert huge_pages.collapse([0, huge_pages.HUGE]) == 0
