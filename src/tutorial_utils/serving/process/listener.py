"""Closing a listening socket without losing who has just come in.

The system completes a connection before the program accepts it, and resets those that still wait
when the listening socket closes: their callers lose what they have sent. So the socket first lets
no new ones begin, then what waits is accepted, and then it closes.
"""

import ctypes
import socket
import struct
import sys
from contextlib import suppress

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux, which Python's socket module does not name
# Classic BPF over the TCP header (man 7 socket; Documentation/networking/filter.rst of Linux):
# load the byte of flags, and drop the segment if it has SYN, which begins a connection.
_NO_NEWCOMERS = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 2**31))
)


def refuse_newcomers(listening: socket.socket) -> bool:
    """Let no connection begin; those that have begun go on. False where the system cannot.

    Who knocks hears nothing for now, tries again, and is refused once the socket has closed.
    """
    if not sys.platform.startswith("linux"):
        return False
    program = ctypes.create_string_buffer(_NO_NEWCOMERS, len(_NO_NEWCOMERS))
    count = len(_NO_NEWCOMERS) // struct.calcsize("HBBI")
    with suppress(OSError):
        pointer = struct.pack("HP", count, ctypes.addressof(program))
        listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, pointer)
        return True
    return False


def waiting(listening: socket.socket) -> list[socket.socket]:
    """Accept all that wait, without waiting for more."""
    found = []
    listening.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            found.append(listening.accept()[0])
    return found
