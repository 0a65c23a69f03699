"""Services that lessons start: from a function's value, on a core of their own, and stopped."""

import os
import sys
import threading

import httpx
import psutil
import pytest

from tutorial_utils.lessons import services
from tutorial_utils.lessons.services import Memory, NotStarted, Service, on_core, start_app

WORD = "from the notebook"


def app_that_says(word):
    """A factory of a small ASGI application, as a cell of a notebook defines one."""

    def make():
        async def app(scope, receive, send):
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": word.encode()})

        return app

    return make


@pytest.fixture
def service(tmp_path):
    with start_app(app_that_says(WORD), tmp_path / "app.log") as running:
        yield running


def test_a_function_runs_in_another_process_with_what_it_uses(service):
    assert httpx.get(service.url).text == WORD
    assert service.pid != os.getpid()
    assert service.exit_code is None


def test_a_service_stays_on_one_core_and_leaves_ours_alone(service):
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("cores cannot be assigned here")
    assert service.process.cpu_affinity() == [min(os.sched_getaffinity(0))]
    assert len(os.sched_getaffinity(0)) > 1


def test_stopping_ends_the_process_and_twice_is_harmless(service):
    service.stop()
    service.stop()
    assert service.exit_code is not None
    assert not psutil.pid_exists(service.pid)


def test_a_service_that_fails_says_what_it_printed_and_leaves_no_process(tmp_path):
    code = "import sys; sys.exit('no model here')"
    with pytest.raises(NotStarted, match="no model here"):
        Service([sys.executable, "-c", code], tmp_path / "log")


def test_one_that_never_gets_ready_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "PATIENCE", 0.5)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(NotStarted):
        Service([sys.executable, "-c", code], tmp_path / "log")
    assert not psutil.pid_exists(int((tmp_path / "log").read_text()))


def test_a_thread_gets_its_cores_back_also_after_an_error():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("cores cannot be assigned here")
    before = os.sched_getaffinity(0)
    with on_core(-1) as assigned:
        assert assigned == (len(before) > 1)
        assert os.sched_getaffinity(0) == ({max(before)} if assigned else before)
    assert os.sched_getaffinity(0) == before
    with pytest.raises(ZeroDivisionError), on_core(-1):
        1 / 0  # noqa: B018
    assert os.sched_getaffinity(0) == before


def test_memory_is_sampled_until_the_end_or_until_the_process_has_ended(service):
    with Memory(service.process, every=0.01) as memory:
        while len(memory.megabytes) < 3:
            threading.Event().wait(0.01)
        service.stop()
    assert min(memory.megabytes) > 1
    assert memory.seconds == sorted(memory.seconds)
    assert memory.now >= memory.seconds[-1]
