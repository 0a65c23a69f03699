"""The load generator with a server of known speed, and the pure parts of `make load`."""

import asyncio
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import service
from fastapi.testclient import TestClient

from benchmarks.load import endpoints, report, servers
from benchmarks.load.closed_loop import header_of, keep_busy
from benchmarks.load.model import Model
from benchmarks.load.policies import POLICIES
from benchmarks.load.servers import OURS, POPULAR
from benchmarks.servers import free_port, on_core
from tutorial_utils.bench import load_generator
from tutorial_utils.serving.engine.batcher import Batcher
from tutorial_utils.serving.engine.request import Request

ASKED = [{"texts": ["a joy"]}, {"texts": ["dull", "long"]}]


class Server:
    """Answers over HTTP after ``seconds``, with the statuses in turns; 0: disconnects instead."""

    def __init__(self, statuses=(200,), seconds=0.0, alone=False):
        self.statuses, self.seconds = statuses, seconds
        self.bodies, self.connections = [], 0
        self.inside = self.most = 0
        self.turn = asyncio.Lock() if alone else None

    async def serve(self, reader, writer) -> None:
        self.connections += 1
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            self.bodies.append(await reader.readexactly(length))
            status = self.statuses[(len(self.bodies) - 1) % len(self.statuses)]
            self.inside += 1
            self.most = max(self.most, self.inside)
            if self.turn:
                async with self.turn:
                    await asyncio.sleep(self.seconds)
            else:
                await asyncio.sleep(self.seconds)
            self.inside -= 1
            if status == 0:
                break
            writer.write(b"HTTP/1.1 %d X\r\nX-Time: 1.5\r\nContent-Length: 2\r\n\r\n{}" % status)
        writer.close()


@contextmanager
def listening(server: Server):
    """Run the server behind a socket, in its own event loop; yields the address."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    ports = []

    async def listen() -> None:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        ports.append(listener.sockets[0].getsockname()[1])
        ready.set()

    loop.create_task(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    assert ready.wait(60)
    yield f"http://127.0.0.1:{ports[0]}/predict"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)


def test_an_open_loop_sends_every_request_and_counts_every_answer():
    server = Server(statuses=(200, 429, 504))
    with listening(server) as url:
        run = load_generator.offer(url, ASKED, rate=300, seconds=0.5, seed=3)
        again = load_generator.offer(url, ASKED, rate=300, seconds=0.5, seed=3)
    assert sum(run.statuses.values()) == sum(again.statuses.values()) > 100
    assert set(run.statuses) == {200, 429, 504}
    assert len(run.latencies_ms) == run.statuses[200]
    assert run.goodput == pytest.approx(run.statuses[200] / run.seconds)
    assert set(server.bodies) == {b'{"texts": ["a joy"]}', b'{"texts": ["dull", "long"]}'}


def test_latency_counts_from_the_moment_a_request_was_due():
    with listening(Server(seconds=0.05, alone=True)) as url:
        run = load_generator.offer(url, ASKED, rate=100, seconds=0.4)
    busy = 50 * sum(run.statuses.values())  # milliseconds, since they are served one by one
    assert run.percentile(100) > busy - 400
    assert run.percentile(0) >= 50


def test_a_closed_loop_has_no_more_requests_in_flight_than_callers():
    server = Server(seconds=0.05)
    with listening(server) as url:
        run = keep_busy(url, ASKED, callers=3, seconds=0.3)
    assert server.most == 3
    assert server.connections == 3, "connections are reused"
    assert run.statuses == {200: len(server.bodies)}
    assert run.rate == pytest.approx(run.goodput)


def test_a_lost_connection_is_status_0_and_the_next_request_opens_a_new_one():
    server = Server(statuses=(200, 0))
    with listening(server) as url:
        run = load_generator.offer(url, ASKED, rate=100, seconds=0.2)
    assert run.statuses.keys() == {0, 200}
    assert server.connections >= run.statuses[0]


def test_a_refused_connection_is_status_0():
    url = f"http://127.0.0.1:{free_port()}/predict"
    assert keep_busy(url, ASKED, callers=1, seconds=0.01).statuses.keys() == {0}


def test_headers_of_an_answer_are_found_in_any_case():
    reply = load_generator.Reply(
        200, b"HTTP/1.1 200 OK\r\nX-Time: 1.5\r\ncontent-length: 0\r\n\r\n"
    )
    assert header_of(reply, "x-time") == "1.5"
    assert header_of(reply, "x-other") is None


def test_load_is_refused_for_servers_on_other_machines():
    for offered in (load_generator.offer, keep_busy):
        with pytest.raises(ValueError, match="this machine"):
            offered("http://example.com/predict", ASKED, 1, 1)


def letters(texts: list[str]) -> list[list[int]]:
    return [[1] * len(text) for text in texts]


def read(request: Request) -> None:
    request.read(letters)


def queued(batcher, lengths) -> list:
    items = []
    for length in lengths:
        request = Request(["a" * length], 100)
        batcher.admit(request)
        items += request.items
    return items


def test_each_policy_makes_the_batches_of_its_name():
    lengths = [9, 3, 5, 3, 9, 3, 5, 3, 9, 3]
    made = {}
    for name, policy in POLICIES.items():
        batcher = Batcher(limit=100, budget=32, max_age=100, policy=policy)
        items = queued(batcher, lengths)
        batches = [[items.index(i) for i in batcher.take(read)]]
        while batcher.queued[0]:
            batches.append([items.index(i) for i in batcher.take(read)])
        made[name] = batches
        assert sorted(i for batch in batches for i in batch) == list(range(10))
    assert made["off"] == [[i] for i in range(10)]
    assert [sorted(batch) for batch in made["timer"]] == [list(range(8)), [8, 9]]
    for batch in made["tokens, sorted"]:
        assert len(batch) * max(lengths[i] for i in batch) <= 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    registry = tmp_path_factory.mktemp("registry")
    service.publish(registry)
    return registry / "sentiment" / "1"


def test_other_servers_give_the_same_answers_as_ours(folder):
    from tutorial_utils.serving.settings import Settings

    texts = ["a joy", "dull, and far too long", "fine"]
    with service.running(Settings(registry=folder.parents[1])) as client:
        ours = client.post("/predict", json={"texts": texts}).json()["predictions"]
    model = Model(folder)
    split = model.predict_many([texts[:1], texts[1:]])
    assert [len(answer["predictions"]) for answer in split] == [1, 2]
    found = [model.predict(texts), split[0]["predictions"] + split[1]["predictions"]]
    for make in (endpoints.popular, endpoints.single):
        with TestClient(make(folder)) as client:
            found.append(client.post("/predict", json={"texts": texts}).json()["predictions"])
    for answers in found:
        assert [a["label"] for a in answers] == [a["label"] for a in ours]
        probabilities = [a["probability"] for a in answers]
        assert np.allclose(probabilities, [a["probability"] for a in ours], atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are pinned on Linux")
def test_a_server_runs_on_its_core_and_the_caller_on_another(folder):
    before = os.sched_getaffinity(0)
    core, own = min(before), max(before)
    with on_core(own), servers.started(OURS, folder, core) as server:
        assert os.sched_getaffinity(server.process.pid) == {core}
        assert os.sched_getaffinity(0) == {own}
        pinned = load_generator.run_in_thread(asyncio.to_thread(os.sched_getaffinity, 0))
        assert pinned == {own}
    assert os.sched_getaffinity(0) == before


def test_only_measured_figures_meet_a_target():
    run = {"shares": [0.7, 0.95, 1.0], "p99_ms": 900.0}
    shape = {"batch_ms": 20.0, "runs": {"1.0": run, "3.0": run}}
    speeds = {OURS: {"16": [300.0, 320.0]}, POPULAR: {"16": [100.0, 200.0]}}
    found = {
        "overload": {"deadline_s": 1.0, "shapes": {"1 text": shape}},
        "endpoints": {"speeds": speeds},
        "http": {"caller_ms": 5.0, "inference_ms": 3.0},
    }
    met = {line.what: line.met for line in report.targets(found)}
    assert met == {
        "goodput at 3 × C, 1 text": True,
        "p99 of accepted, 1 text, all rates": True,
        "HTTP p50 minus inference p50": False,
        "answers/s at 16 callers / popular endpoint": True,  # 3 × and 1.6 ×: 2.3 × in the middle
        "answers/s at 16 callers / LitServe": None,
        "answers/s at 16 callers / mosec": None,
    }
    run["shares"] = [0.8, 0.89, 1.0]
    assert {line.met for line in report.targets(found)[:1]} == {False}
    assert report.targets({}) == []
