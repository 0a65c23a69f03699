"""`make soak` in small: chaos with a faulty service, and a server observed for a minute."""

import os
import re
from pathlib import Path

import pytest
import service
from served_tasks import SERVED

from benchmarks.load.servers import OURS, started
from benchmarks.soak import chaos
from benchmarks.soak.__main__ import settled
from benchmarks.soak.watch import Watched, soak
from tutorial_utils.serving.settings import Settings

TEXTS = [f"{word} number {i}" * (1 + i % 4) for i in range(12) for word in ("joy", "pain", "fine")]
MIXED = [{"texts": TEXTS[:1]}, {"texts": TEXTS[3:11]}, {"texts": ["long " * 90]}]


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    service.publish(folder)
    return folder


@pytest.mark.parametrize("kind", ["mood", "entails", "vectors"])
def test_in_chaos_every_request_gets_the_right_kind_of_answer(tmp_path, kind):
    served = SERVED[kind]
    served.publish(tmp_path)
    options = Settings(registry=tmp_path, model=kind, **chaos.LIMITS)
    texts = [tuple(t) if isinstance(t, list) else t for t in served.as_read(*TEXTS)]
    with service.running(options, chaos.faulty_service(options)) as client:
        url = f"http://127.0.0.1:{client.port}{served.route}"
        ends = chaos.storm(url, texts, 1_000)
        assert settled(url, seconds=60) == dict.fromkeys(chaos.GAUGES, 0)
        counted = client.get("/metrics").text
    assert sum(ends.values()) == 1_000
    assert ends.keys() - {"refused"} == {"right", "invalid", "poisoned", "left"}
    assert ends["right"] + ends["refused"] > 500  # most of the requests are good
    (failures,) = re.findall(r"^serve_allocation_failures_total(?:\{.*\})? (\S+)$", counted, re.M)
    assert float(failures) > 0


def test_wrong_answers_and_unexpected_statuses_are_reported(registry, monkeypatch):
    answer = chaos.numbers
    monkeypatch.setattr(chaos, "numbers", lambda reply: answer(reply)[::-1])
    monkeypatch.setattr(chaos, "MARK", "!")  # now a marked text breaks nothing
    with service.running(Settings(registry=registry)) as client:
        ends = chaos.storm(f"http://127.0.0.1:{client.port}/predict", TEXTS, 200)
    assert ends["wrong"] > 0
    assert ends["unexpected 200"] > 0


@pytest.mark.slow
def test_a_server_under_mixed_load_keeps_its_threads_files_and_memory(registry):
    core = min(os.sched_getaffinity(0))
    with started(OURS, registry / "sentiment" / "1", core) as server:
        watched = soak(server.url, server.process.pid, MIXED, seconds=60, every=0.25)
    assert set(watched.statuses) == {"200", "422", "left"}
    growth = watched.growth()
    assert growth["threads"] <= 0
    assert growth["files"] <= 2  # connections of the moment
    assert growth["rss"] <= 0.05  # within a minute the arenas may still settle


def test_growth_is_measured_after_the_warm_up():
    times = [float(i) for i in range(100)]
    settling = [min(100.0, 50.0 + 3 * i) for i in range(100)]
    flat = Watched(times, settling, [5] * 100, [9] * 100, {})
    assert flat.growth() == {"rss": 0, "threads": 0, "files": 0}
    leak = Watched(times, [100.0 + i for i in range(100)], list(range(100)), [9] * 100, {})
    assert leak.growth()["rss"] > 0.2
    assert leak.growth()["threads"] > 20
