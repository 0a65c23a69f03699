"""Put weights into huge pages: a small batch reads all of them and computes little with each.

A processor caches the addresses of a few thousand pages (TLB). The 86 MB of BERT-base's int8
layers are 21,000 pages of 4 KB, looked up again in each run, but only 41 pages of 2 MB. Linux can
move memory that is already in use (``MADV_COLLAPSE``, from version 6.1; madvise(2)).
"""

import ctypes
import errno
import sys
from collections.abc import Iterable
from pathlib import Path

HUGE = 2 << 20  # bytes
_COLLAPSE = 25  # MADV_COLLAPSE of Linux, which Python's mmap module does not name


def collapse(pages: Iterable[int]) -> int:
    """Move memory of this process into huge pages; return how many bytes are in them now.

    pages: addresses, as ``anonymous()`` gives them. Where the system has no huge pages or none
    free, nothing is moved: that costs time, never a result.
    """
    if not sys.platform.startswith("linux"):
        return 0
    system = ctypes.CDLL(None, use_errno=True)
    system.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    moved = 0
    for page in sorted(pages):
        if system.madvise(page, HUGE, _COLLAPSE) == 0:
            moved += HUGE
        elif ctypes.get_errno() == errno.EINVAL:  # this system cannot
            break
    return moved


def anonymous(maps: Path = Path("/proc/self/maps")) -> set[int]:
    """Addresses of whole huge pages in this process's heap and allocations: no files, no stacks.

    maps: as proc_pid_maps(5) describes it. Empty where it is missing: on other systems than Linux.
    """
    pages: set[int] = set()
    for line in maps.read_text(encoding="utf-8").splitlines() if maps.exists() else ():
        span, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in span.split("-"))
            pages.update(range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE))
    return pages
