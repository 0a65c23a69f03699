"""Many replicas behind one address: one of them killed under load, and what is told to Ray."""

import asyncio
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from service import publish

from benchmarks.servers import free_port
from tutorial_utils import registry
from tutorial_utils.quality import softmax
from tutorial_utils.serving.engine.failures import Unavailable
from tutorial_utils.serving.engine.metrics import Metrics

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="the extra [scale] is missing"),
    pytest.mark.skipif(sys.platform == "win32", reason="Ray on Windows is untested here"),
]
CLUSTER = """
import sys
import ray
from ray import serve
from tutorial_utils.serving.ray_serve import ScaleSettings, application

folder, registry, port, metrics = sys.argv[1:]
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
         object_store_memory=100 << 20, _temp_dir=folder)
serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": int(port)})
serve.run(application(ScaleSettings(registry=registry, metrics_port=metrics)), route_prefix="/")
print("running", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
"""
QUIET = {  # nothing is reported to anybody, and no process starts that is not needed here
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
AGAIN = {429, 500, 502, 503, 504}  # a caller may ask again: a prediction changes nothing
PATIENCE = 120.0  # seconds for a slow machine; nothing is asserted about speed


@dataclass
class Cluster:
    """A Ray cluster on this machine, seen from outside: HTTP, and processes."""

    process: subprocess.Popen
    registry: Path
    port: int
    metrics: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def replicas(self) -> set[int]:
        """Process ids of the replicas that live."""
        found = set()
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if child.cmdline()[:1] and "ServeReplica" in child.cmdline()[0]:
                    found.add(child.pid)
            except psutil.Error:
                continue
        return found

    def answered(self) -> list[float]:
        """Texts that each replica which can be scraped has answered."""
        counts = []
        for port in (self.metrics, self.metrics + 1):
            try:
                page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
            except httpx.TransportError:
                continue
            families = text_string_to_metric_families(page)
            samples = [s for f in families for s in f.samples if s.name == "serve_texts_total"]
            counts.append(sum(sample.value for sample in samples))
        return counts


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        registry_path, port, metrics = Path(folder, "registry"), free_port(), free_port()
        publish(registry_path)
        arguments = [folder, str(registry_path), str(port), str(metrics)]
        log = Path(folder, "log")
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", CLUSTER, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
                env=os.environ | QUIET,
            )  # fmt: skip
        limit = threading.Timer(PATIENCE, process.kill)
        limit.start()
        try:
            assert "running\n" in iter(process.stdout.readline, ""), log.read_text()
            limit.cancel()
            yield Cluster(process, registry_path, port, metrics)
        finally:
            limit.cancel()
            family = []
            with contextlib.suppress(psutil.Error):
                family = psutil.Process(process.pid).children(recursive=True)
            try:
                process.communicate(timeout=20)  # closes its stdin, which tells it to stop
            except subprocess.TimeoutExpired:
                process.kill()
            for left in family:
                with contextlib.suppress(psutil.Error):
                    left.kill()


@dataclass
class Callers:
    """Threads that ask until they are told to stop, and ask again what was not answered."""

    url: str
    threads: int = 6
    stop: threading.Event = field(default_factory=threading.Event)
    answers: dict[str, list[float]] = field(default_factory=dict)
    again: list = field(default_factory=list)  # statuses and errors after which one asked again
    lost: list = field(default_factory=list)

    def __enter__(self) -> "Callers":
        self._running = [
            threading.Thread(target=self._call, args=(i,)) for i in range(self.threads)
        ]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        for thread in self._running:
            thread.join(PATIENCE)

    def _call(self, caller: int) -> None:
        number = 0
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.stop.is_set():
                number += 1
                text = f"caller {caller} says {number}" + "!" * (number % 7)
                if (scores := self._ask(client, text)) is None:
                    self.lost.append(text)
                else:
                    self.answers[text] = scores

    def _ask(self, client: httpx.Client, text: str) -> list[float] | None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                answer = client.post("/predict", json={"texts": [text]})
                if answer.status_code == 200:
                    return list(answer.json()["predictions"][0]["probabilities"].values())
                self.again.append(answer.status_code)
                if answer.status_code not in AGAIN:
                    return None
            except httpx.TransportError as error:
                self.again.append(type(error).__name__)
            time.sleep(0.05)
        return None


def wait_until(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_replica_killed_under_load_loses_no_request_that_is_sent_again(cluster):
    wait_until(lambda: len(cluster.replicas()) == 2, "two replicas")
    before = cluster.replicas()
    with Callers(cluster.url) as callers:
        wait_until(lambda: len(callers.answers) > 100, "answers before the fault")
        wait_until(lambda: min(cluster.answered(), default=0) > 0, "both answer")
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: (
                len(cluster.replicas() - {victim}) == 2
                and len(counts := cluster.answered()) == 2
                and min(counts) > 0
            ),
            "a new replica that answers",
        )
        seen = len(callers.answers)
        wait_until(lambda: len(callers.answers) > seen + 50, "answers after the fault")
    assert callers.lost == []
    assert len(cluster.replicas() & before) == 1
    model = registry.load(cluster.registry, "sentiment")
    for text, scores in callers.answers.items():
        row = model.encode([text])
        given = {"input_ids": np.array(row), "attention_mask": np.ones_like(row)}
        np.testing.assert_allclose(scores, softmax(model.logits(given))[0], atol=1e-5)


@pytest.mark.slow
def test_routes_protocol_and_errors_are_those_of_the_service_alone(cluster):
    with httpx.Client(base_url=cluster.url, timeout=20) as client:
        assert client.get("/readyz").json() == {"status": "ready", "version": "1"}
        assert client.get("/v2/models/sentiment/ready").json()["ready"] is True
        assert "/predict" in client.get("/openapi.json").json()["paths"]
        marked = client.post("/predict", json={"texts": ["a"]}, headers={"x-request-id": "mine-1"})
        assert marked.headers["x-request-id"] == "mine-1"
        assert float(marked.headers["x-inference-time"]) > 0
        wrong = client.post("/predict", json={"texts": []})
        assert (wrong.status_code, wrong.json()["error"]) == (422, "invalid request")
        assert client.get("/nothing").status_code == 404


def test_a_replica_whose_engine_is_dead_is_not_well():
    from tutorial_utils.serving import ray_serve

    class Dead:
        async def probe(self):
            raise Unavailable

    replica = ray_serve.Replica()
    replica.app = ray_serve.BehindProxy(Dead())
    with pytest.raises(Unavailable):
        asyncio.run(replica.check_health())


def test_routes_that_would_reach_one_replica_of_many_are_refused(tmp_path):
    from tutorial_utils.serving import ray_serve

    with pytest.raises(ValueError, match="one of many replicas"):
        ray_serve.ScaleSettings(registry=tmp_path, admin_token="secret")


def test_replicas_of_one_machine_are_scraped_on_ports_of_their_own():
    from tutorial_utils.serving import ray_serve

    first = free_port()
    ports = [ray_serve.expose(Metrics(), first) for _ in range(2)]
    assert ports[0] >= first
    assert ports[1] > ports[0]
    for port in ports:
        assert "serve_waiting_texts" in httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_the_stored_configuration_is_one_that_ray_takes(monkeypatch):
    from ray.serve.schema import ServeDeploySchema

    from tutorial_utils.serving import ray_serve

    text = (ROOT / "deploy" / "ray" / "serve.yaml").read_text(encoding="utf-8")
    (told,) = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    module, function = told.import_path.split(":")
    assert (module, function) == (ray_serve.__name__, ray_serve.application.__name__)
    settings = ray_serve.ScaleSettings.model_validate(told.args)
    assert [d.name for d in told.deployments] == [ray_serve.Replica.__name__]
    assert told.deployments[0].max_ongoing_requests == settings.max_waiting_texts
    built = ray_serve.application(settings)._bound_deployment
    assert built.name == ray_serve.Replica.__name__
    assert built._deployment_config.graceful_shutdown_timeout_s > settings.grace + settings.drain
