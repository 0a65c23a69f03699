"""Connections lost when a server stops: plain uvicorn, and ours without and with the filter.

``python -m benchmarks.load.closing`` needs root on Linux. It opens 600 connections per second to a
server, with one request each, and stops the server while they run. The network between them has an
artificial delay. A connection is lost if it was opened and its request got no answer. A refused
connection was never opened, so its caller can try another server.
"""

import asyncio
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from types import SimpleNamespace

import uvicorn

from tutorial_utils.serving.process import server
from tutorial_utils.serving.settings import Settings

PORT = 8000
HOST, MIRROR = "10.9.0.1", "10.9.0.2"  # packets to MIRROR come back to HOST, after the delay
ROUND_TRIPS = 0.0, 0.001, 0.010  # seconds
SERVERS = "uvicorn", "without the filter", "with the filter"
STOPS, CONNECTIONS, RATE = 5, 600, 600
WORK = 0.0005, 0.005  # seconds of a request: on the event loop, and waiting


class Stub:
    """A minimal application for ``Server``."""

    leaving = False
    settings = Settings(registry=".", grace=0, drain=3)
    metrics = SimpleNamespace(refused=0)

    async def __call__(self, scope, receive, send) -> None:
        time.sleep(WORK[0])
        await asyncio.sleep(WORK[1])
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def serve(kind: str) -> None:
    """Serve with one of ``SERVERS`` until SIGTERM."""
    application = Stub()
    config = uvicorn.Config(
        application, "0.0.0.0", PORT, http="httptools", ws="none", lifespan="off",
        loop="asyncio", log_config=None, access_log=False,
    )  # fmt: skip
    if kind == "without the filter":
        server.hold_off = lambda listening: None
    made = uvicorn.Server(config) if kind == "uvicorn" else server.Server(application, config)
    made.run()


async def ask(address: str) -> str:
    """Open a connection and send a request; return how it ended."""
    try:
        reader, writer = await asyncio.open_connection(address, PORT)
    except ConnectionRefusedError:
        return "refused"
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 15)
        return "answered" if answer.endswith(b"ok") else "lost"
    except OSError:
        return "lost"
    finally:
        writer.close()


async def stop_under_load(kind: str, address: str) -> Counter:
    """Start a server, stop it after a quarter of the connections; count how these ended."""
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, kind])
    while await ask(address) != "answered":
        await asyncio.sleep(0.1)
    start, asking = time.perf_counter(), []
    for i in range(CONNECTIONS):
        asking.append(asyncio.create_task(ask(address)))
        if i == CONNECTIONS // 4:
            process.send_signal(signal.SIGTERM)
        await asyncio.sleep(max(0.0, start + i / RATE - time.perf_counter()))
    ends = Counter(await asyncio.gather(*asking))
    process.wait()
    return ends


def mirror(delay: float) -> None:
    """Send back each packet to ``MIRROR`` after ``delay`` seconds, as if ``HOST`` were far away.

    Checksums stay valid: they are sums, and the two addresses only swap places.
    """
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"far", 0x1001))  # TUNSETIFF, no header
    for words in (f"addr add {HOST}/24 dev far", "link set far up txqueuelen 10000"):
        subprocess.run(["ip", *words.split()], check=True)
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        left = max(0.0, waiting[0][0] - time.perf_counter()) if waiting else None
        select.select([tun], [], [], left)
        with suppress(BlockingIOError):
            while True:
                packet = os.read(tun, 65_536)
                if packet[0] >> 4 == 4:
                    back = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                    waiting.append((time.perf_counter() + delay, back))
        while waiting and waiting[0][0] <= time.perf_counter():
            os.write(tun, waiting.popleft()[1])


def main() -> None:
    """Print a line for each server and round trip."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for seconds in ROUND_TRIPS:
        far = None
        if seconds:
            far = subprocess.Popen([sys.executable, "-m", __spec__.name, str(seconds / 2)])
            time.sleep(1)
        for kind in SERVERS:
            ends: Counter = Counter()
            for _ in range(STOPS):
                ends += asyncio.run(stop_under_load(kind, MIRROR if far else "127.0.0.1"))
            counts = ", ".join(f"{ends[end]} {end}" for end in ("answered", "refused", "lost"))
            print(f"round trip {seconds * 1e3:g} ms, {kind}: {counts}", flush=True)
        if far:
            far.kill()
            far.wait()


if __name__ == "__main__":
    if not sys.argv[1:]:  # in its own network namespace, which ends with it
        command = ["unshare", "--net", sys.executable, "-m", __spec__.name, "all"]
        sys.exit(subprocess.run(command).returncode)
    (argument,) = sys.argv[1:]
    if argument == "all":
        main()
    elif argument in SERVERS:
        serve(argument)
    else:
        mirror(float(argument))
