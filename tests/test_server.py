"""The service as a process: how it stops, slow senders, and what it logs."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import tiny_models

from benchmarks.servers import free_port
from tutorial_utils.serving.process import listener, server

SECRET = "zanzibar"


def wait_for(condition, seconds: float = 60) -> None:
    """Return as soon as ``condition()`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


class Process:
    """``serve`` in a process of its own; ``lines()``: its log so far."""

    def __init__(self, registry: Path, log: Path, **settings):
        self.port = free_port()
        variables = {f"SERVE_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "tutorial_utils", "serve", "--registry", str(registry)]
        self.log = log
        with log.open("w") as file:
            self.popen = subprocess.Popen(
                [*command, "--port", str(self.port)], stderr=file, env=os.environ | variables
            )
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for(lambda: self.popen.poll() is not None or self.ready())
        assert self.popen.poll() is None, log.read_text()

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def send(self, content: bytes, pause: float = 0.0) -> bytes:
        """What comes back until the connection closes; ``pause`` seconds before each byte."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            try:
                for byte in content if pause else ():
                    connection.sendall(bytes([byte]))
                    time.sleep(pause)
                if not pause:
                    connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            answer = b""
            try:
                while piece := connection.recv(65_536):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer


@pytest.fixture(scope="module")
def registry_path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    tiny_models.add(folder, tiny_models.classifier(weights=(0, 1)))
    return folder


@pytest.fixture
def start(registry_path, tmp_path):
    started = []

    def run(**settings) -> Process:
        started.append(Process(registry_path, tmp_path / "log", **settings))
        return started[-1]

    yield run
    for process in started:
        process.popen.kill()
        process.popen.wait(10)


def test_no_accepted_request_is_lost_on_sigterm(start):
    process = start(grace=60, drain=5)
    results, stop = [], threading.Event()

    def ask(connections_kept: int):
        limits = httpx.Limits(max_keepalive_connections=connections_kept)
        with httpx.Client(base_url=process.url, timeout=20, limits=limits) as client:
            while not stop.is_set():
                try:
                    answer = client.post("/predict", json={"texts": ["a"]})
                    results.append(answer.status_code)
                except httpx.ConnectError:
                    return  # the socket is closed: this was never accepted
                except httpx.TransportError as error:
                    results.append(type(error).__name__)

    callers = [threading.Thread(target=ask, args=(i % 2,)) for i in range(4)]
    for caller in callers:
        caller.start()
    wait_for(lambda: len(results) > 4)
    process.popen.send_signal(signal.SIGTERM)
    wait_for(lambda: not process.ready())
    assert httpx.get(f"{process.url}/livez").status_code == 200
    before = len(results)
    wait_for(lambda: len(results) > before + 4)  # it still serves
    process.popen.send_signal(signal.SIGTERM)  # a second signal ends the grace period
    assert process.popen.wait(30) == 0
    stop.set()
    for caller in callers:
        caller.join(10)
    assert set(results) == {200}
    assert any(process.url in line["event"] for line in process.lines()), "where it listens"
    assert "stopped" in [line["event"] for line in process.lines()]


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_new_connections_are_held_off_and_those_that_have_begun_are_accepted():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        with socket.create_connection(address, timeout=10) as begun:
            listener.hold_off(listening)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.5)
            accepted, caller = listening.accept()
            assert caller == begun.getsockname()
            accepted.close()


EMPTY = 'serve_queue_texts{model="sentiment",version="1"} 0.0'
STUCK = """
import sys, time
from tutorial_utils import registry
from tutorial_utils.serving.process import server
from tutorial_utils.serving.settings import Settings
runs = []
def hang(self, inputs):
    runs.append(None)
    time.sleep(60 if len(runs) > 3 else 0)
    return self.session.run(["logits"], {"input_ids": inputs["input_ids"]})[0]
registry.LoadedModel.logits = hang
server.serve(Settings(registry=sys.argv[1], hang_after=60, deadline=60, grace=0, drain=1,
                      port=int(sys.argv[2])))
"""


def test_a_stuck_request_does_not_keep_the_process(registry_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(registry_path), str(port)], stderr=subprocess.DEVNULL
    )
    url, answers = f"http://127.0.0.1:{port}", []

    def ask() -> int:
        try:
            return httpx.post(f"{url}/predict", json={"texts": ["a"]}, timeout=30).status_code
        except httpx.TransportError:
            return 0

    try:
        wait_for(lambda: ask() == 200)
        ask()  # the third run after the warm-up's first
        stuck = threading.Thread(target=lambda: answers.append(ask()))
        stuck.start()
        reached = {"serve_waiting_texts 1.0", EMPTY}
        wait_for(lambda: reached <= set(httpx.get(f"{url}/metrics").text.splitlines()))
        process.terminate()
        assert process.wait(30) == server.HUNG  # the model would go on for a minute
        stuck.join(10)
        assert answers in ([503], [0])
    finally:
        process.kill()


def test_slow_senders_and_wrong_lengths_get_an_answer_or_are_closed(start):
    process = start(patience=0.5)
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    body = b'{"texts": ["zanzibar"]}'
    slow = process.send(head + b"content-length: 1000\r\n\r\n" + body, pause=0.02)
    assert slow == b"" or slow.split()[1] in (b"400", b"408")  # during its head or its body
    with socket.create_connection(("127.0.0.1", process.port), timeout=10) as silent:
        silent.sendall(head + b"content-length: 1000\r\n\r\n" + body)
        told = silent.recv(65_536)
        assert b" 408 " in told.split(b"\r\n")[0]
        assert SECRET.encode() not in told
    with socket.create_connection(("127.0.0.1", process.port), timeout=10) as silent:
        silent.sendall(b"POST /pre")
        assert silent.recv(100).split()[1] == b"400"  # no whole head in time
    longer = process.send(head + b"connection: close\r\ncontent-length: 3\r\n\r\n" + body)
    assert longer.split(b" ")[1][:1] == b"4"
    huge = process.send(head + b"content-length: 99999999999999\r\n\r\n{")
    assert b" 413 " in huge.split(b"\r\n")[0]
    nonsense = process.send(head + b"content-length: many\r\n\r\n{}")
    assert b" 400 " in nonsense.split(b"\r\n")[0]
    assert process.ready()
    assert SECRET not in process.log.read_text()


def test_the_log_has_a_line_for_each_request_with_its_id_and_no_text(start):
    process = start()
    asked = {"x-request-id": "mine-1"}
    good = httpx.post(f"{process.url}/predict", json={"texts": [SECRET]}, headers=asked)
    assert good.headers["x-request-id"] == "mine-1"
    assert float(good.headers["x-total-time"]) > 0
    forged = {"x-request-id": "a b zanzibar{}"}
    bad = httpx.post(f"{process.url}/predict", json={f"{SECRET}?": 1}, headers=forged)
    assert bad.status_code == 422
    assert SECRET not in bad.text + bad.headers["x-request-id"]
    httpx.get(f"{process.url}/{SECRET}")

    def requests() -> list[dict]:
        return [line for line in process.lines() if line["event"] == "request"]

    wait_for(lambda: requests()[-1:] and requests()[-1]["route"] == "unknown")
    lines = requests()
    mine = [line for line in lines if line["request_id"] == "mine-1"]
    assert [(line["route"], line["status"]) for line in mine] == [("/predict", 200)]
    assert lines[-1]["route"] == "unknown"
    assert {"level", "timestamp", "ms", "method"} <= set(lines[-1])
    assert SECRET not in process.log.read_text()
