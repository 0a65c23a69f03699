"""Servers that tests, lessons and benchmarks start."""

import subprocess
import sys

import httpx
import psutil
import pytest
from service import publish

from tutorial_utils.serving import launch


def test_the_service_answers_until_it_is_left(tmp_path):
    publish(tmp_path / "registry")
    with launch.running_service(tmp_path / "registry", max_texts=1) as server:
        route = f"{server.url}/predict"
        assert httpx.post(route, json={"texts": ["fine"]}).status_code == 200
        assert httpx.post(route, json={"texts": ["fine", "too"]}).status_code == 422
    assert server.process.returncode is not None
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/readyz")


def test_a_server_that_ends_is_told_at_once():
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with (
        pytest.raises(launch.ServerNotStarted, match="code 3"),
        launch.running_process(command, launch.free_port()),
    ):
        pass


def test_a_server_that_never_gets_ready_is_stopped():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    seen = []
    with (
        pytest.raises(launch.ServerNotStarted, match="within 0 seconds"),
        launch.running_process(command, launch.free_port(), ready=seen.append, patience=0.2),
    ):
        pass
    assert seen


@pytest.mark.skipif(sys.platform == "win32", reason="signals that Windows does not have")
def test_a_server_that_ignores_the_request_is_killed_with_its_children(monkeypatch):
    monkeypatch.setattr(launch, "STOP_SECONDS", 0.1)
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(process.stdout.readline()))
    launch.stop(process)
    assert process.returncode == -9
    child.wait(10)
    process.stdout.close()
