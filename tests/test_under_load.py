"""Pairs and vectors under load: back-pressure, deadlines, faults, trials, new versions."""

import itertools
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served_tasks import SERVED, Served
from service import running, sentences
from test_engine import Gate, Harmed

from tutorial_utils.serving.http import app
from tutorial_utils.serving.settings import Settings


# In the quick tests, pairs meet load in test_soak.
@pytest.fixture(params=["vectors", pytest.param("entails", marks=pytest.mark.slow)])
def served(request) -> Served:
    return SERVED[request.param]


@pytest.fixture
def registry(served, tmp_path) -> Path:
    """Version 1; a test may add more."""
    served.publish(tmp_path)
    return tmp_path


@dataclass
class Service:
    """A service of one kind of model, and what a caller of it does."""

    client: httpx.Client
    served: Served
    application: app.Service

    def send(self, texts: list, **headers) -> httpx.Response:
        return self.client.post(self.served.route, json={"texts": texts}, headers=headers)

    def in_thread(self, texts: list) -> tuple[threading.Thread, list[httpx.Response]]:
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(self.send(texts)))
        thread.start()
        return thread, answers

    def is_right(self, answer: httpx.Response, texts: list) -> bool:
        """Are the numbers those of the version that the answer names, whose seed is one less?"""
        body = answer.json()
        right = self.served.expected(texts, int(body["version"]) - 1)
        return np.allclose(self.served.told(body), right, atol=1e-4)

    def value(self, name: str, **labels) -> float:
        """The sum of a metric's samples that bear ``labels``."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = (s for family in families for s in family.samples if s.name == name)
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    def storm(self, enough, callers: int = 6) -> list[tuple[list, httpx.Response]]:
        """Ask without a pause until ``enough()``; the texts of each request with its answer."""
        words, answers, stop = sentences(40), [], threading.Event()

        def ask(number: int):
            for i in itertools.count(number):
                if stop.is_set():
                    return
                texts = self.served.as_read(*(words[(i + k) % 40] for k in range(1 + i % 3)))
                answers.append((texts, self.send(texts)))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(callers)]
        for thread in threads:
            thread.start()
        try:
            wait(lambda: len(answers) > 2 * callers and enough())
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        return answers


@contextmanager
def serving(registry: Path, served: Served, before=lambda inputs: None, **settings):
    """before: is called with the inputs of each run of the stable version."""
    patient = {"watch": 0, "deadline": 60, "hang_after": 60}
    options = Settings(registry=registry, model=served.name, **patient | settings)
    application = app.create(options)
    backend = application.deployment.stable.backends[0]
    backend.model = Harmed(backend.model, before)
    with running(options, application) as client:
        yield Service(client, served, application)


def wait(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_full_queue_is_a_429_on_each_route_read_or_unread(registry, served):
    gate = Gate()
    first, *others = served.as_read("first", "second", "third")
    with serving(registry, served, gate, max_waiting_texts=3) as service:
        asking, answers = service.in_thread([first])
        assert gate.entered.wait(60)
        refused = service.send([*others, first])  # there is room for two
        tensor = {"name": "text", "datatype": "BYTES", "data": ["a"] * 6, "shape": [3, 2]}
        tensor |= {} if served.reads == "pair" else {"data": ["a"] * 3, "shape": [3]}
        infer = f"/v2/models/{served.name}/infer"
        by_protocol = service.client.post(infer, json={"inputs": [tensor]})
        more, accepted = service.in_thread(others)
        wait(lambda: service.value("serve_waiting_texts") == 3)
        unread = service.client.post(served.route, content=b"{not even JSON")
        for answer in (refused, by_protocol, unread):
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json() == {"error": "too many texts are waiting; try again"}
        gate.open.set()
        for thread in (asking, more):
            thread.join(60)
        assert service.is_right(answers[0], [first])
        assert service.is_right(accepted[0], others)
        assert service.value("serve_requests_total", route=served.route, status="429") == 2
        assert service.value("serve_requests_total", status="429") == 3
        assert service.value("serve_waiting_texts") == 0
        assert service.client.post(served.route, json={}).status_code == 422


def test_a_late_request_is_a_504_and_its_places_are_free_again(registry, served):
    gate = Gate()
    with serving(registry, served, gate, deadline=0.3) as service:
        begun, dropped = service.in_thread(served.texts), service.in_thread(served.texts)
        for thread, _ in (begun, dropped):
            thread.join(60)
        for _, (answer,) in (begun, dropped):
            assert (answer.status_code, answer.json()["error"]) == (
                504, "not answered within the deadline",
            )  # fmt: skip
        gate.open.set()
        wait(lambda: service.value("serve_waiting_texts") == 0)
        assert service.value("serve_unanswered_total", reason="expired") == 2


def test_a_worker_that_is_killed_under_load_is_replaced_and_no_answer_is_wrong(registry, served):
    runs, well = itertools.count(1), threading.Event()

    def before(inputs):
        if next(runs) % 7 == 0 and not well.is_set():
            raise SystemExit

    with serving(registry, served, before, breaker_failures=1_000) as service:

        def killed() -> bool:
            return service.value("serve_worker_restarts_total", reason="died") >= 5

        answers = service.storm(killed)
        ends = Counter(answer.status_code for _, answer in answers)
        assert ends.keys() == {200, 500}, ends
        assert all(service.is_right(a, texts) for texts, a in answers if a.status_code == 200)
        assert {a.text for _, a in answers if a.status_code == 500} == {
            '{"error":"internal error"}'
        }
        well.set()
        wait(lambda: service.client.get("/readyz").status_code == 200)
        assert service.is_right(service.send(served.texts), served.texts)
        assert service.value("serve_waiting_texts") == 0


def test_a_model_that_fails_is_a_503_until_it_is_well_again(registry, served):
    sick = threading.Event()

    def before(inputs):
        if sick.is_set():
            raise ValueError("the model is sick")

    settings = {"breaker_failures": 2, "breaker_cooldown": 0.1}
    with serving(registry, served, before, **settings) as service:
        assert service.send(served.texts).status_code == 200
        sick.set()
        wait(lambda: service.send(served.texts).status_code == 503)
        refused = service.send(served.texts)
        assert refused.headers["retry-after"] == "1"
        assert refused.json() == {"error": "no model can answer now; try again"}
        assert service.client.get("/readyz").status_code == 503
        assert service.client.get("/info").json()["answering"] is None
        sick.clear()
        wait(lambda: service.client.get("/readyz").status_code == 200)
        assert service.is_right(service.send(served.texts), served.texts)


def test_one_text_that_breaks_the_model_fails_its_caller_only(registry, served):
    def before(inputs):
        if (inputs["input_ids"] == mark).any():
            raise ValueError("poison")

    with serving(registry, served, before) as service:
        encode = service.application.deployment.stable.model.encode
        as_text = tuple if served.reads == "pair" else str
        odd, plain = ([as_text(t) for t in served.as_read(text)] for text in ("~", "b"))
        (mark,) = {*encode(odd)[0]} - {*encode(plain)[0]}
        good, (poison,) = served.as_read("fine", "told with care"), served.as_read("a~b")
        asked = [service.in_thread([text]) for text in (*good, poison, *good)]
        for thread, _ in asked:
            thread.join(60)
        ends = [answer.status_code for _, (answer,) in asked]
        assert ends == [200, 200, 500, 200, 200]
        assert service.value("serve_poison_texts_total") == 1
        assert service.send([*good, poison]).status_code == 500
        assert service.is_right(service.send(good), good)


def test_a_fallback_of_the_same_kind_answers_and_is_marked(registry, served):
    served.publish(registry, seed=1)

    def before(inputs):
        raise ValueError("the model is sick")

    with serving(registry, served, before, fallback="1", breaker_failures=1) as service:
        answers = service.storm(lambda: True)
        assert {answer.status_code for _, answer in answers} == {200}
        for texts, answer in answers:
            assert (answer.json()["version"], answer.json()["fallback"]) == ("1", True)
            assert service.is_right(answer, texts)


def test_versions_change_under_load_and_each_answer_is_its_versions(registry, served):
    with serving(registry, served, watch=0.02) as service:
        seen: set[str] = set()

        def changed() -> bool:
            running = service.client.get("/info").json()["version"]
            if running not in seen and len(seen) < 3:
                seen.add(running)
                if len(seen) < 3:
                    served.publish(registry, seed=len(seen))
            return len(seen) == 3

        answers = service.storm(changed)
        assert {answer.status_code for _, answer in answers} == {200}
        assert all(service.is_right(answer, texts) for texts, answer in answers)
        assert {answer.json()["version"] for _, answer in answers} >= {"1", "2"}
        assert service.value("serve_waiting_texts") == 0


def test_a_canary_answers_its_callers_and_they_stay(registry, served):
    served.publish(registry, seed=1)
    trial = {"version": "1", "canary": "2", "canary_share": 0.5}
    with serving(registry, served, **trial) as service:
        versions = {}
        for caller in 2 * [f"caller-{i}" for i in range(20)]:
            answer = service.send(served.texts, **{"x-caller-id": caller})
            assert service.is_right(answer, served.texts)
            assert versions.setdefault(caller, answer.json()["version"]) == answer.json()["version"]
        assert set(versions.values()) == {"1", "2"}
        assert service.value("serve_answers_total", role="canary") > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_a_shadow_stays_if_it_answers_alike_and_is_rolled_back_if_not(registry, served, seed):
    served.publish(registry, seed=seed)
    trial = {"version": "1", "canary": "2", "shadow_share": 1}
    with serving(registry, served, **trial) as service:

        def roll_backs() -> float:
            return service.value("serve_roll_backs_total", version="2", reason="disagreement")

        def judged() -> bool:  # models of different seeds agree on some texts too
            alike = service.value("serve_shadow_texts_total", version="2", outcome="agrees")
            return roll_backs() == 1 if seed else alike >= 30

        answers = service.storm(judged, callers=2)
        assert all(service.is_right(answer, texts) for texts, answer in answers)
        assert {answer.json()["version"] for _, answer in answers} == {"1"}
        assert roll_backs() == seed
        running = {"1": "stable"} | ({} if seed else {"2": "shadow"})
        assert service.client.get("/info").json()["running"] == running


def test_drift_watches_the_texts_of_vectors_and_the_answers_of_others(served, tmp_path):
    normal = served.as_read(*sentences(300))
    if served.reads == "pair":
        normal = [tuple(pair) for pair in normal]
    served.publish(tmp_path, normal=normal)
    answers = {"confidence", "labels"} if served.task == "single_label" else set()
    with serving(tmp_path, served) as service:
        watched = set(service.client.get("/info").json()["watched"])
        assert watched == {"length", "vocabulary", "disagreement"} | answers

        def drifting(texts: int) -> float:
            wait(lambda: service.value("serve_drift_texts_total") == texts)
            return service.value("serve_drift_drifting", feature="length")

        for seed in range(10):
            assert service.send(served.as_read(*sentences(32, seed + 1))).status_code == 200
        assert drifting(320) == 0
        for _ in range(10):
            service.send(served.as_read(*["longer and longer " * 20] * 32))
        assert drifting(640) == 1
