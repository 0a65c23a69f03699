"""A real server over a tiny model, asked over a real socket."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import service
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from service import running
from tiny_models import LABELS

from benchmarks.servers import free_port
from tutorial_utils import quality, registry
from tutorial_utils.registry import BadModel
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.serving.http import app
from tutorial_utils.serving.settings import Settings


@pytest.fixture(scope="module")
def registry_path(tmp_path_factory) -> Path:
    """A registry with two versions of the tiny model."""
    folder = tmp_path_factory.mktemp("registry")
    for steps in (("exported",), ("exported", "again")):
        service.publish(folder, made=Recipe(steps=steps, max_length=128))
    return folder


@pytest.fixture(scope="module")
def client(registry_path):
    with running(Settings(registry=registry_path)) as opened:
        yield opened


def test_texts_are_labelled_in_their_order_with_version_and_timings(client):
    texts = ["A joy.", "Dull and far too long, from the first scene to the last.", "Fine."]
    together = client.post("/predict", json={"texts": texts})
    assert together.status_code == 200
    body = together.json()
    assert (body["model"], body["version"]) == ("sentiment", "2")
    assert set(body["timings_ms"]) == {"queue", "tokenize", "inference"}
    assert float(together.headers["x-inference-time"]) > 0
    for text, answer in zip(texts, body["predictions"], strict=True):
        (alone,) = client.post("/predict", json={"texts": [text]}).json()["predictions"]
        assert answer["label"] == alone["label"]
        assert answer["probability"] == pytest.approx(alone["probability"], abs=1e-4)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["probability"] == max(answer["probabilities"].values())


SECRET = "zanzibar"  # nothing of a caller's text may come back in an error


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"zanzibar"',
        b'{"texts": "zanzibar"}',
        b'{"texts": []}',
        b'{"texts": [""]}',
        b'{"texts": [" \\n\\t"]}',
        b'{"texts": ["zanzibar", 3]}',
        b'{"texts": [null]}',
        b'{"texts": ["zanzibar \\ud800"]}',
        b'{"texts": [NaN]}',
        b'{"text": ["zanzibar"]}',
        b'{"texts": [' + b'"zanzibar",' * 32 + b'"one too many"]}',
        b'{"texts": ["' + b"zanzibar " * 3_000 + b'"]}',
        b"[" * 50_000,
        b"\xff\xfe",
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_bad_request_is_a_clear_4xx_that_repeats_nothing(client, content):
    headers = {"content-type": "application/json"}
    answer = client.post("/predict", content=content, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]
    for leak in (SECRET, "Traceback", ".py", "site-packages"):
        assert leak not in answer.text


@pytest.mark.parametrize(
    "text",
    ["a\x00b", "👩‍👩‍👧 ok", "שלום", "[CLS] [SEP]", "w" * 19_999, "word " * 2_000, "\u200b"],
    ids=["NUL", "emoji", "right-to-left", "special", "one long word", "many words", "zero width"],
)
def test_odd_but_valid_text_is_answered(client, text):
    answer = client.post("/predict", json={"texts": [text]})
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["label"] in LABELS


def test_thirty_two_texts_are_accepted(client):
    answer = client.post("/predict", json={"texts": ["fine"] * 32})
    assert len(answer.json()["predictions"]) == 32


def test_a_body_over_the_limit_is_a_413(client):
    answer = client.post("/predict", content=b" " * 2_000_001)
    assert answer.status_code == 413


def test_unknown_routes_and_methods_have_errors_in_our_form(client):
    assert client.get("/nowhere").status_code == 404
    assert client.get("/predict").status_code == 405
    assert set(client.get("/nowhere").json()) == {"error"}


def test_live_ready_and_info(client):
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "version": "2"}
    info = client.get("/info").json()
    assert info["labels"] == list(LABELS)
    assert info["steps"] == ["exported", "again"]


def test_metrics_count_what_happened(client):
    from prometheus_client.parser import text_string_to_metric_families

    def value(name, **labels):
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = (s for f in families for s in f.samples if s.name == name)
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    asked = {"route": "/predict", "status": "200"}
    before, texts = value("serve_requests_total", **asked), value("serve_texts_total")
    client.post("/predict", json={"texts": ["one", "two"]})
    client.get("/some/secret/path")
    assert value("serve_requests_total", **asked) == before + 1
    assert value("serve_texts_total") == texts + 2
    assert value("serve_requests_total", route="unknown", status="404") >= 1
    assert value("serve_model_info", version="2") == 1
    assert value("serve_waiting_texts") == 0
    assert "secret" not in client.get("/metrics").text


class Blocked:
    """An engine's model that runs until it is let go."""

    def __init__(self, model):
        self.manifest, self.recipe, self.form = model.manifest, model.recipe, model.form
        self.encode, self._logits = model.encode, model.logits
        self.entered, self.go = threading.Event(), threading.Event()

    def logits(self, inputs):
        self.entered.set()
        assert self.go.wait(20)
        return self._logits(inputs)


@pytest.fixture
def blocked(registry_path, monkeypatch):
    model = Blocked(registry.load(registry_path, "sentiment"))
    monkeypatch.setattr(registry, "load", lambda *_, **__: model)
    yield model
    model.go.set()


def test_the_event_loop_stays_free_while_the_model_runs(registry_path, blocked):
    with running(Settings(registry=registry_path)) as client:
        asking = threading.Thread(target=client.post, args=("/predict",),
                                  kwargs={"json": {"texts": ["slow"]}})  # fmt: skip
        asking.start()
        assert blocked.entered.wait(60)
        assert client.get("/livez").status_code == 200
        blocked.go.set()
        asking.join(60)


def test_a_request_over_the_limit_is_refused_and_a_later_one_is_accepted(registry_path, blocked):
    with running(Settings(registry=registry_path, max_waiting_texts=3)) as client:
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(client.post("/predict", json={"texts": ["a", "b"]}))
        )
        asking.start()
        assert blocked.entered.wait(60)
        refused = client.post("/predict", json={"texts": ["c", "d"]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        blocked.go.set()
        asking.join(60)
        assert answers[0].status_code == 200
        assert client.post("/predict", json={"texts": ["c", "d", "e"]}).status_code == 200


def test_a_request_to_a_full_queue_is_refused_unread_and_counted(registry_path, blocked, caplog):
    caplog.set_level("INFO", "tutorial_utils")
    with running(Settings(registry=registry_path, max_waiting_texts=2)) as client:
        asking = threading.Thread(target=client.post, args=("/predict",),
                                  kwargs={"json": {"texts": ["a", "b"]}})  # fmt: skip
        asking.start()
        assert blocked.entered.wait(60)
        refused = client.post("/predict", content=b"{not even JSON")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json() == {"error": "too many texts are waiting; try again"}
        assert client.get("/livez").status_code == 200, "only /predict is refused"
        counted = client.get("/metrics").text
        assert 'serve_requests_total{route="/predict",status="429"} 1.0' in counted
        assert 'reason="overloaded",version="2"} 1.0' in counted
        blocked.go.set()
        asking.join(60)
        assert client.post("/predict", json={}).status_code == 422
    lines = [r.msg for r in caplog.records if r.name.endswith("middleware")]
    assert {422, 200} <= {line["status"] for line in lines}, "a request has a line"
    assert 429 not in {line["status"] for line in lines}, "a refusal has none"


def test_a_connection_is_kept_after_a_refusal_and_its_unread_body(registry_path, blocked):
    with running(Settings(registry=registry_path, max_waiting_texts=2)) as client:
        asking = threading.Thread(target=client.post, args=("/predict",),
                                  kwargs={"json": {"texts": ["a", "b"]}})  # fmt: skip
        asking.start()
        assert blocked.entered.wait(60)
        body = b'{"texts": ["GET / HTTP/1.1"]}'
        head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        head += b"x-request-id: mine\r\ncontent-length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as caller:
            for _ in range(2):
                caller.sendall(head + body[:9])
                told = caller.recv(65_536)
                assert told.startswith(b"HTTP/1.1 429 ")
                assert b"x-request-id: mine\r\n" in told
                caller.sendall(body[9:])
            blocked.go.set()
            asking.join(60)
            caller.sendall(head + body)
            assert caller.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_late_request_is_a_504_and_dropped_if_not_begun(registry_path, blocked):
    with running(Settings(registry=registry_path, deadline=0.3)) as client:
        first = threading.Thread(target=client.post, args=("/predict",),
                                 kwargs={"json": {"texts": ["a"]}})  # fmt: skip
        first.start()
        assert blocked.entered.wait(60)
        late = client.post("/predict", json={"texts": ["b"]})
        assert late.status_code == 504
        assert "deadline" in late.json()["error"]
        assert client.get("/readyz").status_code == 504
        blocked.go.set()
        first.join(60)
        end = time.monotonic() + 20
        while "serve_waiting_texts 0.0" not in client.get("/metrics").text:
            assert time.monotonic() < end


def test_a_caller_who_disconnects_is_dropped_and_counted(registry_path, blocked):
    with running(Settings(registry=registry_path)) as client:
        asking = threading.Thread(target=client.post, args=("/predict",),
                                  kwargs={"json": {"texts": ["a"]}})  # fmt: skip
        asking.start()
        assert blocked.entered.wait(60)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                client.base_url.join("/predict"),
                json={"texts": ["b", "c"]},
                timeout=httpx.Timeout(60, read=0.3),
            )
        end = time.monotonic() + 20
        while "serve_waiting_texts 1.0" not in client.get("/metrics").text:
            assert time.monotonic() < end, "the dropped request still counts as waiting"
        blocked.go.set()
        asking.join(60)
        assert 'reason="cancelled",version="2"} 1.0' in client.get("/metrics").text


def test_an_answer_of_the_fallback_is_marked(registry_path, monkeypatch):
    load = registry.load

    class Broken:
        whole = load(registry_path, "sentiment", "2")
        manifest, form = whole.manifest, whole.form
        recipe, encode = whole.recipe, staticmethod(whole.encode)

        def logits(self, inputs):
            raise RuntimeError

    def load_or_break(folder, name, version, **given):
        return load(folder, name, version) if version == "1" else Broken()

    monkeypatch.setattr(registry, "load", load_or_break)
    with running(Settings(registry=registry_path, fallback="1")) as client:
        body = client.post("/predict", json={"texts": ["a"]}).json()
        assert (body["version"], body["fallback"]) == ("1", True)
        assert client.get("/readyz").status_code == 200


def test_an_exception_in_the_model_is_a_500_without_its_message(registry_path, monkeypatch):
    model = registry.load(registry_path, "sentiment")

    class Broken:
        manifest, form = model.manifest, model.form
        recipe, encode = model.recipe, staticmethod(model.encode)

        def logits(self, inputs):
            raise RuntimeError("secret path /etc/model")

    monkeypatch.setattr(registry, "load", lambda *_, **__: Broken())
    with running(Settings(registry=registry_path)) as client:
        answer = client.post("/predict", json={"texts": ["a"]})
        assert answer.status_code == 500
        assert answer.json() == {"error": "internal error"}
        assert client.get("/readyz").status_code == 500


@pytest.fixture
def broken_registry(registry_path, tmp_path):
    return Path(shutil.copytree(registry_path, tmp_path / "registry"))


FAULTS = {
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "manifest is not JSON": lambda f: (f / "manifest.json").write_text("{"),
    "manifest lacks a field": lambda f: (f / "manifest.json").write_text('{"name": "x"}'),
    "model missing": lambda f: (f / "model.onnx").unlink(),
    "model truncated": lambda f: (f / "model.onnx").write_bytes(b"\x08"),
    "tokenizer changed": lambda f: (f / "tokenizer.json").write_text("{}"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_version_is_refused_at_start_with_the_fix(broken_registry, fault):
    FAULTS[fault](broken_registry / "sentiment" / "2")
    with pytest.raises(BadModel, match="publish"):
        app.create(Settings(registry=broken_registry))
    assert app.create(Settings(registry=broken_registry, version="1"))


def test_a_manifest_that_points_outside_its_folder_is_refused(broken_registry):
    path = broken_registry / "sentiment" / "2" / "manifest.json"
    values = json.loads(path.read_text())
    values["files"]["../1/model.onnx"] = values["files"]["model.onnx"]
    path.write_text(json.dumps(values))
    with pytest.raises(BadModel, match="not a file of this folder"):
        registry.load(broken_registry, "sentiment")


def test_unknown_models_and_versions_are_named(registry_path, tmp_path):
    with pytest.raises(BadModel, match=r"'7'.*1, 2"):
        registry.load(registry_path, "sentiment", "7")
    with pytest.raises(BadModel, match="no version of 'topic'"):
        registry.load(registry_path, "topic")
    with pytest.raises(ValueError, match="version"):
        Settings(registry=registry_path, version="../1")
    assert registry.versions(tmp_path / "nowhere", "sentiment") == []


def test_a_version_being_written_is_not_served(broken_registry):
    (broken_registry / "sentiment" / ".3-incomplete").mkdir()
    assert registry.versions(broken_registry, "sentiment") == ["1", "2"]


def test_the_command_starts_a_server_on_loopback_and_refuses_a_bad_registry(
    registry_path, tmp_path
):
    port = free_port()
    command = [sys.executable, "-m", "tutorial_utils", "serve", "--port", str(port), "--registry"]
    server = subprocess.Popen([*command, str(registry_path)])
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert ready.json()["status"] == "ready"
    finally:
        server.terminate()
        assert server.wait(20) in (0, -15, 1)
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "publish" in done.stderr
    assert "Traceback" not in done.stderr


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


@given(arrays(np.float32, (3, 4), elements=FLOATS))
def test_softmax_never_overflows(logits):
    found = quality.softmax(logits)
    assert np.isfinite(found).all()
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    best = logits.argmax(axis=1)
    assert (found[np.arange(3), best] == found.max(axis=1)).all()
