"""Versions that change under load: nothing is lost, and each answer names who gave it."""

import asyncio
import json
import math
import random
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from served_tasks import SERVED
from test_serving import running

from tutorial_utils import registry
from tutorial_utils.registry import BadModel
from tutorial_utils.serving.engine.failures import InferenceFailed, Overloaded
from tutorial_utils.serving.http import app
from tutorial_utils.serving.rollout import traffic
from tutorial_utils.serving.rollout.deployment import Deployment, NothingToDo, UnknownVersion
from tutorial_utils.serving.rollout.registry_watcher import Watcher
from tutorial_utils.serving.rollout.traffic import place
from tutorial_utils.serving.settings import Settings


def publish(registry_path: Path, *versions: int, flipped: bool = False) -> Path:
    """A version n says "positive" with a logit of n, or "negative" when flipped."""
    for number in versions:
        weights = (number, 0) if flipped else (0, number)
        assert tiny_models.add(registry_path, tiny_models.classifier(weights=weights)).name == str(
            number
        )
    return registry_path


def positive(version: str) -> float:
    return 1 / (1 + math.exp(-int(version)))


class Broken:
    """Passes for a good version until it serves."""

    def __init__(self, model: registry.LoadedModel):
        self.manifest, self.form = model.manifest, model.form
        self.recipe, self.encode = model.recipe, model.encode

    def logits(self, inputs):
        raise RuntimeError


@pytest.fixture
def broken(monkeypatch):
    """Lets a version load well and fail afterwards."""
    load, names = registry.load, set()

    def load_or_break(folder, name, version="latest", **given):
        model = load(folder, name, version, **given)
        return Broken(model) if model.manifest.version in names else model

    monkeypatch.setattr(registry, "load", load_or_break)
    return names


def deploy(registry_path: Path, **settings) -> Deployment:
    chosen = Settings(registry=registry_path, **settings)
    return Deployment(chosen, registry.load(registry_path, "sentiment", chosen.version))


def value(deployment: Deployment, name: str, **labels) -> float:
    return deployment.metrics.registry.get_sample_value(name, labels) or 0.0


def test_no_request_is_refused_unread_while_there_is_a_candidate(tmp_path):
    deployment = deploy(publish(tmp_path, 1, 2), version="1", max_waiting_texts=1)
    deployment.stable._batcher.limit = 0
    assert isinstance(deployment.turn_away(), Overloaded)
    deployment.place(registry.load(tmp_path, "sentiment", "2"), share=0.5)
    assert deployment.turn_away() is None
    asyncio.run(deployment.close())


def test_swaps_under_load_lose_nothing_and_each_answer_is_its_versions(tmp_path):
    registry_path = publish(tmp_path, 1)
    answers, stop = [], threading.Event()
    with running(Settings(registry=registry_path, watch=0.05)) as client:

        def ask():
            while not stop.is_set():
                answers.append(client.post("/predict", json={"texts": ["warm", "warm warm"]}))

        callers = [threading.Thread(target=ask) for _ in range(4)]
        for caller in callers:
            caller.start()
        for version in (2, 3):
            publish(registry_path, version)
            wait(lambda v=str(version): answers and answers[-1].json().get("version") == v)
        tiny_models.add(registry_path, b"no model")  # version 4 is broken: version 3 stays
        wait(lambda: 'serve_loads_total{outcome="refused"} 1.0' in client.get("/metrics").text)
        publish(registry_path, 5)
        wait(lambda: answers[-1].json().get("version") == "5")
        stop.set()
        for caller in callers:
            caller.join(60)
        assert client.get("/info").json()["running"] == {"5": "stable"}
        metrics = client.get("/metrics").text
        assert "serve_versions_draining 0.0" in metrics
        assert "serve_waiting_texts 0.0" in metrics
    assert {answer.status_code for answer in answers} == {200}
    seen = Counter()
    for answer in answers:
        body = answer.json()
        seen[body["version"]] += 1
        for got in body["predictions"]:
            expected = positive(body["version"])
            assert got["probabilities"]["positive"] == pytest.approx(expected, abs=1e-5)
    assert set(seen) == {"1", "2", "3", "5"}


def wait(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_pinned_version_stays_and_latest_follows_the_registry(tmp_path):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1, 2), version="1")
        watcher = Watcher(deployment)
        await watcher.look()
        assert deployment.roles == {"1": "stable"}
        await deployment.switch("latest")
        assert deployment.roles == {"2": "stable"}
        publish(tmp_path, 3)
        await watcher.look()
        assert deployment.roles == {"3": "stable"}
        await deployment.roll_back()
        await watcher.look()  # a version that was rolled back is not used again
        assert deployment.roles == {"2": "stable"}
        with pytest.raises(NothingToDo):
            await deployment.roll_back()
        await deployment.switch("3")
        assert (await deployment.predict(["a"])).version == "3"
        await deployment.close()

    asyncio.run(scenario())


def test_a_broken_version_is_read_again_only_when_its_files_change(tmp_path, monkeypatch):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1))
        watcher = Watcher(deployment)
        folder = tiny_models.add(tmp_path, b"no model")
        for _ in range(3):
            await watcher.look()
        assert value(deployment, "serve_loads_total", outcome="refused") == 1
        with pytest.raises(BadModel):
            await deployment.switch("2")
        assert (await deployment.predict(["a"])).version == "1"
        (folder / "model.onnx").write_bytes(b"another")
        await watcher.look()
        assert value(deployment, "serve_loads_total", outcome="refused") == 3
        await deployment.close()

    asyncio.run(scenario())


def test_a_withdrawn_version_is_replaced_and_not_used_by_a_new_process(tmp_path):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1, 2, 3))
        watcher = Watcher(deployment)
        registry.withdraw(tmp_path, "sentiment", "3", "it insults callers")
        registry.withdraw(tmp_path, "sentiment", "1", "too old")
        with pytest.raises(BadModel, match="3 was withdrawn: it insults callers"):
            await deployment.switch("3")
        await watcher.look()
        assert deployment.roles == {"2": "stable"}
        restarted = deploy(tmp_path)
        assert restarted.roles == {"2": "stable"}
        await restarted.close()
        registry.withdraw(tmp_path, "sentiment", "2", "slow")
        await watcher.look()  # nothing is left to go back to: an answer is better than none
        assert (await deployment.predict(["a"])).version == "2"
        with pytest.raises(BadModel, match="was withdrawn"):
            deploy(tmp_path)
        for version in "23":
            registry.restore(tmp_path, "sentiment", version)
        await watcher.look()
        assert deployment.roles == {"3": "stable"}
        await deployment.close()

    asyncio.run(scenario())


def test_a_candidate_that_is_withdrawn_ends_its_trial_and_may_come_back(tmp_path):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1), canary_share=0.5)
        watcher = Watcher(deployment)
        publish(tmp_path, 2)
        await watcher.look()
        assert deployment.roles == {"1": "stable", "2": "canary"}
        registry.withdraw(tmp_path, "sentiment", "2", "by hand")
        await watcher.look()
        await watcher.look()
        assert deployment.roles == {"1": "stable"}
        registry.restore(tmp_path, "sentiment", "2")
        await watcher.look()
        assert deployment.roles == {"1": "stable", "2": "canary"}
        await deployment.close()

    asyncio.run(scenario())


def test_a_pinned_version_stays_also_when_it_is_withdrawn_and_the_log_says_so_once(
    tmp_path, caplog
):
    def warnings() -> list[str]:
        return [r.getMessage() for r in caplog.records if "still in use" in r.getMessage()]

    async def scenario():
        deployment = deploy(publish(tmp_path, 1, 2), version="2")
        watcher = Watcher(deployment)
        for times in (1, 2):
            registry.withdraw(tmp_path, "sentiment", "2", "it insults callers")
            for _ in range(3):
                await watcher.look()
            assert deployment.roles == {"2": "stable"}
            assert watcher.withdrawn == {"2": "it insults callers"}
            assert len(warnings()) == times
            registry.restore(tmp_path, "sentiment", "2")
            await watcher.look()
            assert watcher.withdrawn == {}
        assert "version 2 was withdrawn (it insults callers)" in warnings()[0]
        await deployment.close()

    asyncio.run(scenario())


def test_the_only_version_and_a_fallback_that_are_withdrawn_are_shown(tmp_path, caplog):
    settings = Settings(registry=publish(tmp_path, 1, 2), version="2", fallback="1", watch=0.02)
    with running(settings) as client:
        assert client.get("/info").json()["withdrawn"] == []
        registry.withdraw(tmp_path, "sentiment", "1", "old")
        wait(lambda: client.get("/info").json()["withdrawn"] == ["1"])
        registry.withdraw(tmp_path, "sentiment", "2", "slow")
        wait(lambda: client.get("/info").json()["withdrawn"] == ["1", "2"])
    assert sum("still in use" in r.getMessage() for r in caplog.records) == 2


def test_a_registry_whose_versions_are_all_withdrawn_names_each(tmp_path):
    publish(tmp_path, 1, 2)
    registry.withdraw(tmp_path, "sentiment", "1", "old")
    registry.withdraw(tmp_path, "sentiment", "2", "slow")
    with pytest.raises(BadModel, match="1 was withdrawn: old; sentiment 2 was withdrawn: slow"):
        registry.load(tmp_path, "sentiment")
    with pytest.raises(BadModel, match=r"^sentiment 2 was withdrawn: slow\. Serve"):
        registry.load(tmp_path, "sentiment", "2")


OTHERS = {"pairs": SERVED["entails"], "vectors": SERVED["vectors"]}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_newer_version_with_other_callers_is_refused_once_and_the_next_is_taken_up(
    tmp_path, caplog, kind
):
    answers, stop = [], threading.Event()
    mood = SERVED["mood"]
    mood.publish(tmp_path)
    with running(Settings(registry=tmp_path, model="mood", watch=0.02)) as client:

        def ask():
            while not stop.is_set():
                answers.append(client.post("/predict", json={"texts": mood.texts}))

        callers = [threading.Thread(target=ask) for _ in range(3)]
        for caller in callers:
            caller.start()
        replace(OTHERS[kind], name="mood").publish(tmp_path)
        refused = 'serve_loads_total{outcome="refused"} 1.0'
        wait(lambda: refused in client.get("/metrics").text)
        wait(lambda count=len(answers): len(answers) > count + 50)
        mood.publish(tmp_path, seed=3)
        wait(lambda: answers[-1].json().get("version") == "3")
        stop.set()
        for caller in callers:
            caller.join(60)
        assert refused in client.get("/metrics").text, "it is read once"
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["version"] for answer in answers} == {"1", "3"}
    right = {version: mood.expected(mood.texts, {1: 0, 3: 3}[version]) for version in (1, 3)}
    for answer in answers:
        body = answer.json()
        assert np.allclose(mood.told(body), right[int(body["version"])], atol=1e-5)
    (line,) = [r.getMessage() for r in caplog.records if "is refused" in r.getMessage()]
    assert "its callers would be refused. Serve it under another name" in line


@pytest.mark.parametrize("kind", OTHERS)
def test_a_fallback_or_canary_with_other_callers_is_refused_at_start(tmp_path, kind):
    SERVED["mood"].publish(tmp_path)
    replace(OTHERS[kind], name="mood").publish(tmp_path)
    for more in ({"fallback": "2"}, {"canary": "2", "canary_share": 0.5}):
        with pytest.raises(BadModel, match=r"mood 2 reads a .* its callers would be refused"):
            app.create(Settings(registry=tmp_path, model="mood", version="1", **more))


@pytest.mark.parametrize("kind", OTHERS)
def test_an_operator_who_switches_to_other_callers_is_told_and_nothing_changes(tmp_path, kind):
    SERVED["mood"].publish(tmp_path)
    replace(OTHERS[kind], name="mood").publish(tmp_path)
    settings = Settings(registry=tmp_path, model="mood", version="1", admin_token="open")
    with running(settings) as client:
        key = {"authorization": "Bearer open"}
        for path, body in (("switch", {}), ("candidate", {"shadow": 1})):
            answer = client.post(f"/admin/{path}", headers=key, json={"version": "2"} | body)
            assert answer.status_code == 409
            assert "its callers would be refused" in answer.json()["error"]
        info = client.get("/info").json()
        assert (info["running"], info["follows_latest"]) == ({"1": "stable"}, False)


def test_ten_thousand_callers_are_split_by_the_share_and_keep_their_version():
    ids = [f"caller-{i}" for i in range(10_000)]
    places = [place(caller, "2") for caller in ids]
    taken = sum(at < 0.1 for at in places)
    assert scipy.stats.chisquare([taken, 10_000 - taken], [1_000, 9_000]).pvalue > 0.01
    assert places == [place(caller, "2") for caller in ids]
    both = sum(
        at < 0.1 and place(caller, "3") < 0.1 for caller, at in zip(ids, places, strict=True)
    )
    assert scipy.stats.binomtest(both, 10_000, 0.01).pvalue > 0.01  # another trial, other callers


@given(st.text(max_size=30), st.text(max_size=5))
@settings(deadline=None)
def test_every_caller_has_a_place(caller, salt):
    assert 0 <= place(caller, salt) < 1


def test_the_split_reaches_the_versions_and_a_caller_stays(tmp_path):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1, 2), version="1")
        await deployment.try_out("2", share=0.3, shadow=0)
        candidate = deployment.candidate
        for i in range(100):
            answer = await deployment.predict(["a"], caller=str(i))
            assert answer.version == ("2" if candidate.takes(str(i)) else "1")
        assert (await deployment.predict(["a"], version="2")).version == "2"
        with pytest.raises(UnknownVersion, match="1, 2"):
            await deployment.predict(["a"], version="../1")
        await deployment.promote()
        assert deployment.roles == {"2": "stable"}
        await deployment.close()

    asyncio.run(scenario())


def test_a_canary_that_errs_is_rolled_back_and_every_caller_is_answered(tmp_path, broken):
    async def scenario():
        broken.add("2")
        deployment = deploy(publish(tmp_path, 1))
        publish(tmp_path, 2)
        await deployment.try_out("2", share=0.5, shadow=0)
        for i in range(100):
            answer = await deployment.predict(["a"], caller=str(i))
            assert answer.version == "1"
        assert deployment.candidate is None
        assert deployment.taken_back == {"2"}
        assert value(deployment, "serve_roll_backs_total", version="2", reason="errors") == 1
        await Watcher(deployment).look()
        assert deployment.roles == {"1": "stable"}
        await deployment.close()

    asyncio.run(scenario())


def test_the_canary_is_not_blamed_for_what_the_stable_version_fails_too(tmp_path, broken):
    async def scenario():
        broken.update("12")
        deployment = deploy(publish(tmp_path, 1, 2), version="1")
        await deployment.try_out("2", share=0.5, shadow=0)
        for i in range(40):
            with pytest.raises(InferenceFailed):
                await deployment.predict(["a"], caller=str(i))
        assert deployment.candidate is not None
        await deployment.close()

    asyncio.run(scenario())


def test_a_shadow_that_disagrees_is_rolled_back_and_answers_nobody(tmp_path):
    async def scenario():
        publish(publish(tmp_path, 1), 2, flipped=True)
        deployment = deploy(tmp_path, version="1")
        await deployment.try_out("2", share=0, shadow=1)
        assert deployment.roles == {"1": "stable", "2": "shadow"}
        for _ in range(20):
            assert (await deployment.predict(["a"])).version == "1"
            await deployment.shadow.settle()
        assert deployment.candidate is None
        name = "serve_roll_backs_total"
        assert value(deployment, name, version="2", reason=traffic.DISAGREEMENT) == 1
        await deployment.close()

    asyncio.run(scenario())


def test_a_shadow_that_agrees_stays(tmp_path):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1, 2), version="1")
        await deployment.try_out("2", share=0, shadow=1)
        for _ in range(30):
            await deployment.predict(["a", "b"])
            await deployment.shadow.settle()
        assert deployment.candidate.trial.differing == 0
        assert value(deployment, "serve_shadow_texts_total", version="2", outcome="agrees") == 60
        await deployment.close()

    asyncio.run(scenario())


def test_versions_change_at_random_under_load(tmp_path):
    async def ask(deployment, answers):
        for i in range(60):
            answer = await deployment.predict(["a"], caller=str(i))
            answers.append(answer)
            assert answer.probabilities[0, 1] == pytest.approx(positive(answer.version), abs=1e-5)

    async def scenario():
        chance, answers = random.Random(0), []
        deployment = deploy(publish(tmp_path, 1, 2, 3))
        asking = [asyncio.create_task(ask(deployment, answers)) for _ in range(8)]
        while not all(task.done() for task in asking):
            try:
                match chance.randrange(4):
                    case 0:
                        await deployment.switch(chance.choice("123"))
                    case 1:
                        await deployment.try_out(chance.choice("123"), 0.5, 0.5)
                    case 2:
                        await deployment.promote()
                    case 3:
                        await deployment.roll_back()
            except NothingToDo:
                await asyncio.sleep(0)
        await asyncio.gather(*asking)
        assert len(answers) == 480
        await deployment.close()

    asyncio.run(scenario())


def test_the_admin_routes_open_with_the_token_only(tmp_path):
    publish(tmp_path, 1, 2)
    with running(Settings(registry=tmp_path, version="1", admin_token="open")) as client:
        key = {"authorization": "Bearer open"}
        assert client.post("/admin/promote").status_code == 401
        wrong = {"authorization": "Bearer opem"}
        assert client.post("/admin/promote", headers=wrong).status_code == 401
        assert client.post("/admin/promote", headers=key).status_code == 409
        tried = client.post("/admin/candidate", headers=key, json={"version": "2", "share": 1})
        assert tried.json()["running"] == {"1": "stable", "2": "canary"}
        assert client.post("/predict", json={"texts": ["a"]}).json()["version"] == "2"
        assert client.post("/admin/promote", headers=key).json()["running"] == {"2": "stable"}
        assert client.post("/admin/roll-back", headers=key).json()["running"] == {"1": "stable"}
        switched = client.post("/admin/switch", headers=key, json={"version": "9"})
        assert switched.status_code == 409
        assert (
            client.post("/admin/switch", headers=key, json={"version": "../1"}).status_code == 422
        )
        kind = {"content-type": "application/json"}
        for path, body in (  # a misspelt field must not mean its default
            ("switch", {"verison": "1"}),
            ("switch", {}),
            ("candidate", {"version": "2", "canary_share": 0.1}),
            ("switch", {"version": "1", "\ud83d": 1}),
        ):
            answer = client.post(f"/admin/{path}", headers=key | kind, content=json.dumps(body))
            assert answer.status_code == 422, body
        assert client.get("/info").json()["running"] == {"1": "stable"}
    with running(Settings(registry=tmp_path)) as client:
        assert client.post("/admin/promote", headers=key).status_code == 404


class Slow:
    """A model held up until ``go``; ``entered``: it runs."""

    def __init__(self, model: registry.LoadedModel):
        self.manifest, self.recipe, self.form = model.manifest, model.recipe, model.form
        self.encode, self._logits = model.encode, model.logits
        self.entered, self.go = threading.Event(), threading.Event()

    def logits(self, inputs):
        self.entered.set()
        assert self.go.wait(30)
        return self._logits(inputs)


async def until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


@pytest.fixture
def gate(monkeypatch):
    """Holds up reading a version whose number is in ``gate.held``, until ``gate.go``."""

    class Gate:
        held, entered, go = set(), threading.Event(), threading.Event()

    load = registry.load

    def load_late(folder, name, version="latest", **given):
        if version in Gate.held:
            Gate.entered.set()
            assert Gate.go.wait(30)
        return load(folder, name, version, **given)

    monkeypatch.setattr(registry, "load", load_late)
    yield Gate
    Gate.go.set()


@pytest.mark.parametrize("loading", ["the operator", "the watcher"])
def test_a_pin_holds_against_the_watcher_while_either_is_loading(tmp_path, gate, loading):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1, 2))
        watcher = Watcher(deployment)
        served = []
        place = deployment.place
        deployment.place = lambda model, *rest: (
            served.append(model.manifest.version), place(model, *rest)
        )[1]  # fmt: skip
        if loading == "the operator":
            gate.held.add("1")
            pinning = asyncio.create_task(deployment.switch("1"))
            await asyncio.to_thread(gate.entered.wait, 30)
            publish(tmp_path, 3)
            looking = asyncio.create_task(watcher.look())
        else:
            publish(tmp_path, 3)
            gate.held.add("3")
            looking = asyncio.create_task(watcher.look())
            await asyncio.to_thread(gate.entered.wait, 30)
            pinning = asyncio.create_task(deployment.switch("1"))
        await asyncio.sleep(0.1)
        gate.go.set()
        await asyncio.gather(pinning, looking)
        assert deployment.roles == {"1": "stable"}
        assert "3" not in served, "not for a moment"
        await watcher.look()
        assert deployment.roles == {"1": "stable"}
        await deployment.switch("latest")
        assert deployment.roles == {"3": "stable"}
        await deployment.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("trial", [False, True])
def test_a_roll_back_holds_against_a_watcher_that_has_read_the_registry(
    tmp_path, monkeypatch, trial
):
    read, go = threading.Event(), threading.Event()
    versions = registry.versions

    def answer_late(*name):
        found = versions(*name)
        read.set()
        go.wait(30)
        return found

    async def scenario():
        deployment = deploy(publish(tmp_path, 1))
        publish(tmp_path, 2)
        if trial:
            await deployment.try_out("2", share=0.5, shadow=0)
        else:
            await deployment.switch("latest")
        monkeypatch.setattr(registry, "versions", answer_late)
        looking = asyncio.create_task(Watcher(deployment).look())
        await asyncio.to_thread(read.wait, 30)
        await deployment.roll_back()
        go.set()
        await looking
        assert deployment.roles == {"1": "stable"}
        assert deployment.taken_back == {"2"}
        await deployment.close()

    asyncio.run(scenario())


def test_a_pin_that_fails_leaves_the_registry_followed(tmp_path):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1))
        with pytest.raises(BadModel):
            await deployment.switch("9")
        publish(tmp_path, 2)
        await Watcher(deployment).look()
        assert deployment.roles == {"2": "stable"}
        await deployment.close()

    asyncio.run(scenario())


def test_a_candidate_of_the_operators_is_not_replaced_by_the_watcher(tmp_path):
    async def scenario():
        deployment = deploy(publish(tmp_path, 1, 2))
        await deployment.try_out("1", share=0.5, shadow=0)
        publish(tmp_path, 3)
        watcher = Watcher(deployment)
        await watcher.look()
        assert deployment.roles == {"2": "stable", "1": "canary"}
        await deployment.roll_back()
        await watcher.look()
        assert deployment.roles == {"3": "stable"}
        await deployment.close()

    asyncio.run(scenario())


def test_info_and_the_admin_say_whether_the_version_is_pinned(tmp_path):
    publish(tmp_path, 1, 2)
    with running(Settings(registry=tmp_path, admin_token="open")) as client:
        key = {"authorization": "Bearer open"}
        assert client.get("/info").json()["follows_latest"] is True
        pinned = client.post("/admin/switch", headers=key, json={"version": "1"}).json()
        assert pinned["follows_latest"] is False
        assert client.get("/info").json()["follows_latest"] is False


def test_shutdown_cancels_shadows_on_their_loop_and_closes_every_engine(tmp_path):
    async def scenario():
        asyncio.get_running_loop().set_debug(True)
        model = Slow(registry.load(publish(tmp_path, 1, 2), "sentiment", "2"))
        settings = Settings(registry=tmp_path, version="1", drain=1, deadline=60)
        service = app.create(settings)
        deployment = service.deployment
        async with service.router.lifespan_context(service):
            deployment.place(model, share=0, shadow=1)
            engines = [deployment.stable, deployment.candidate.engine]
            for _ in range(3):
                await deployment.predict(["a"])
            await asyncio.to_thread(model.entered.wait, 30)
            asyncio.get_running_loop().call_later(0.2, model.go.set)
        assert [engine._supervisor.is_alive() for engine in engines] == [False, False]
        assert [engine._supervisor.worker.is_alive() for engine in engines] == [False, False]
        assert len(asyncio.all_tasks()) == 1, "nothing but this scenario"

    asyncio.run(scenario())


def test_closing_waits_for_engines_that_drain(tmp_path):
    async def scenario():
        model = Slow(registry.load(publish(tmp_path, 1, 2), "sentiment", "1"))
        deployment = Deployment(Settings(registry=tmp_path, version="1", deadline=60), model)
        old = deployment.stable
        asking = asyncio.create_task(deployment.predict(["a"]))
        await asyncio.to_thread(model.entered.wait, 30)
        await deployment.switch("2")
        asyncio.get_running_loop().call_later(0.2, model.go.set)
        await deployment.close()
        assert not old._supervisor.worker.is_alive()
        await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(scenario())


def test_a_slow_canary_costs_its_callers_time_and_no_answer(tmp_path):
    async def scenario():
        model = Slow(registry.load(publish(tmp_path, 1, 2), "sentiment", "2"))
        deployment = deploy(tmp_path, version="1", deadline=4)
        deployment.place(model, share=1)
        ask, given = deployment.stable.predict, []
        deployment.stable.predict = lambda texts, left: given.append(left) or ask(texts, left)
        answers = await asyncio.gather(*(deployment.predict(["a"]) for _ in range(5)))
        assert {answer.version for answer in answers} == {"1"}
        assert max(given) <= 2, "within the caller's own deadline"
        assert value(deployment, "serve_version_errors_total", version="2", role="canary") == 5
        assert deployment.candidate.trial.canary.errors == 5
        model.go.set()
        await deployment.close()

    asyncio.run(scenario())


def test_what_the_canary_failed_is_not_mirrored_to_it(tmp_path, broken):
    async def scenario():
        broken.add("2")
        deployment = deploy(publish(tmp_path, 1, 2), version="1", breaker_failures=1_000)
        await deployment.try_out("2", share=1, shadow=1)
        for _ in range(10):
            assert (await deployment.predict(["a"])).version == "1"
        await deployment.shadow.settle()
        asked = value(deployment, "serve_version_errors_total", version="2", role="canary")
        shadowed = value(deployment, "serve_shadow_texts_total", version="2", outcome="failed")
        assert (asked, shadowed) == (10, 0)
        await deployment.close()

    asyncio.run(scenario())
