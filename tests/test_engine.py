"""The engine over a tiny model with faults: each fails the right request, and passes."""

import asyncio
import random
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import service
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from tutorial_utils import registry
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.engine.failures import (
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    Unavailable,
)
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.settings import Settings

TEXTS = [("a joy from the first scene to the last " * 3)[: 4 * i + 3] for i in range(20)]
POISON = "zebra"


@pytest.fixture(scope="module")
def registry_path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    for _ in range(2):
        service.publish(folder, made=Recipe(steps=("exported",), max_length=128, token_budget=256))
    return folder


@pytest.fixture(scope="module")
def loaded(registry_path) -> dict[str, registry.LoadedModel]:
    return {version: registry.load(registry_path, "sentiment", version) for version in "12"}


@pytest.fixture(scope="module")
def solo(loaded) -> dict[str, np.ndarray]:
    """Each text's probabilities, asked alone."""

    async def ask():
        return {text: (await engine.predict([text])).probabilities[0] for text in TEXTS}

    engine = Engine(loaded["2"], Settings(registry="."))
    found = asyncio.run(ask())
    engine.close()
    return found


class Harmed:
    """A loaded model that does something before it answers; ``seen``: the texts of each run."""

    def __init__(self, model, before=lambda inputs: None):
        self.manifest, self.recipe, self.form = model.manifest, model.recipe, model.form
        self._model, self.before = model, before
        self.seen: list[int] = []

    def encode(self, texts):
        return self._model.encode(texts)

    def logits(self, inputs):
        self.seen.append(len(inputs["input_ids"]))
        self.before(inputs)
        return self._model.logits(inputs)


class Gate:
    """Holds runs up: all, or the first ``runs``."""

    def __init__(self, runs=10**9):
        self.entered, self.open, self.left = threading.Event(), threading.Event(), runs

    def __call__(self, inputs):
        if self.left:
            self.left -= 1
            self.entered.set()
            assert self.open.wait(60)


@pytest.fixture
def start(loaded):
    """Makes engines and closes them: ``start(before, fallback=..., deadline=...)``."""
    engines = []

    def make(before=lambda inputs: None, fallback=None, **options) -> Engine:
        options = {"registry": ".", "breaker_cooldown": 0.2, **options}
        model = Harmed(loaded["2"], before)
        engines.append(Engine(model, Settings(**options), fallback, Metrics()))
        return engines[-1]

    yield make
    for engine in engines:
        if isinstance(engine.model.before, Gate):
            engine.model.before.open.set()
        engine.close()


def value(engine: Engine, name: str, **labels) -> float:
    """The sum of a metric's samples that bear ``labels``."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(engine.metrics.all.text().decode())
    samples = (s for f in families for s in f.samples if s.name == name)
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


async def until(condition, seconds=60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.005)


def poisonous(model):
    """Fails on every batch that holds the word ``POISON``."""
    token = model.encode([POISON])[0][1]

    def before(inputs):
        if (inputs["input_ids"] == token).any():
            raise ValueError("a secret of the caller's")

    return before


async def together(engine, requests):
    """Outcome of each request, all of them asked while the model is held at a gate."""
    return await asyncio.gather(*map(engine.predict, requests), return_exceptions=True)


def test_requests_that_wait_share_batches_and_each_gets_its_own_answer(start, solo):
    engine = start(Gate(runs=1))

    async def main():
        first = asyncio.create_task(engine.predict([TEXTS[0]]))
        await until(engine.model.before.entered.is_set)
        rest = asyncio.create_task(together(engine, [TEXTS[:3], TEXTS[3:4], TEXTS[4:]]))
        await until(lambda: engine.queued[0] == 20)
        engine.model.before.open.set()
        return [await first, *await rest]

    predictions = asyncio.run(main())
    answers = np.concatenate([p.probabilities for p in predictions])
    right = np.stack([solo[text] for text in [TEXTS[0], *TEXTS]])
    assert np.allclose(answers, right, atol=1e-5)
    assert 2 < len(engine.model.seen) < 15, "fewer runs than texts"
    assert {(p.version, p.fallback) for p in predictions} == {("2", False)}
    stages = [(p.queue_ms, p.tokenize_ms, p.inference_ms) for p in predictions]
    assert all(min(times) >= 0 for times in stages)


def test_one_poison_text_among_seven_good_is_the_only_one_that_fails(start, solo, loaded, caplog):
    harm = poisonous(loaded["2"])
    gate = Gate(runs=1)
    engine = start(lambda inputs: (gate(inputs), harm(inputs)))

    async def main():
        first = asyncio.create_task(engine.predict(["good"]))
        await until(gate.entered.is_set)
        asked = [[text] for text in TEXTS[:3]] + [[f"a {POISON}"]] + [[t] for t in TEXTS[3:7]]
        rest = asyncio.create_task(together(engine, asked))
        await until(lambda: engine.queued[0] == 8)
        gate.open.set()
        await first
        return await rest

    outcomes = asyncio.run(main())
    failed = outcomes.pop(3)
    assert type(failed) is InferenceFailed
    answers = np.concatenate([p.probabilities for p in outcomes])
    assert np.allclose(answers, np.stack([solo[t] for t in TEXTS[:7]]), atol=1e-5)
    assert value(engine, "serve_poison_texts_total") == 1
    assert "secret" not in str(failed) + caplog.text


def test_poison_alone_never_opens_the_breaker(start, loaded):
    engine = start(poisonous(loaded["2"]), breaker_failures=1)

    async def main():
        for _ in range(3):
            with pytest.raises(InferenceFailed):
                await engine.predict([POISON])
        await engine.predict(["good"])

    asyncio.run(main())
    assert engine.ready()
    assert value(engine, "serve_poison_texts_total") == 3


def test_a_caller_leaving_mid_batch_affects_nobody_and_one_queued_is_not_computed(start, solo):
    engine = start(Gate())

    async def main():
        asked = [asyncio.create_task(engine.predict([text])) for text in TEXTS[:1]]
        await until(engine.model.before.entered.is_set)
        asked += [asyncio.create_task(engine.predict([text])) for text in TEXTS[1:5]]
        await until(lambda: engine.queued[0] == 4)
        asked[0].cancel()  # its text is in the model
        asked[2].cancel()  # its text is in the queue
        await until(lambda: engine.waiting == 4)
        engine.model.before.open.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(main())
    for i, outcome in enumerate(outcomes):
        if i in (0, 2):
            assert isinstance(outcome, asyncio.CancelledError)
        else:
            assert np.allclose(outcome.probabilities[0], solo[TEXTS[i]], atol=1e-5)
    assert sum(engine.model.seen) == 4
    assert value(engine, "serve_unanswered_total", reason="cancelled") == 2
    assert engine.waiting == 0


def test_with_two_callers_more_than_places_exactly_two_are_refused(start):
    engine = start(Gate(), max_waiting_texts=6)

    async def main():
        asked = [asyncio.create_task(engine.predict(["good"])) for _ in range(8)]
        await until(lambda: sum(task.done() for task in asked) == 2)
        engine.model.before.open.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(main())
    refused = [o for o in outcomes if isinstance(o, Overloaded)]
    assert len(refused) == 2
    assert all(refusal.retry_after >= 1 for refusal in refused)
    assert sum(engine.model.seen) == 6
    assert value(engine, "serve_unanswered_total", reason="overloaded") == 2


def test_a_full_queue_that_moves_does_not_make_the_service_unready(start):
    gate = Gate(runs=1)
    gate.left = 0
    engine = start(gate, max_waiting_texts=1)

    async def main():
        await engine.predict(["good"])
        gate.left = 1
        asked = asyncio.create_task(engine.predict(["good"]))
        await until(gate.entered.is_set)
        await engine.probe()
        gate.open.set()
        await asked

    asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeException("Failed to allocate memory for requested buffer of size 7"),
        RuntimeException("Available memory of 7 is smaller than requested bytes of 8"),
    ],
    ids=["MemoryError", "ONNX Runtime's", "that of a limit"],
)
def test_a_batch_too_large_for_memory_is_halved_until_it_fits(start, solo, error):
    def before(inputs):
        if inputs["input_ids"].size > 100:
            raise error

    engine = start(before)
    prediction = asyncio.run(engine.predict(TEXTS))
    assert np.allclose(prediction.probabilities, [solo[text] for text in TEXTS], atol=1e-5)
    assert value(engine, "serve_allocation_failures_total") >= 1
    assert value(engine, "serve_poison_texts_total") == 0
    assert engine.ready()


def test_a_worker_that_ends_with_the_engine_has_not_died(start):
    engine = start()
    supervisor = engine._supervisor
    supervisor.stop(5)
    supervisor.look()  # as if it had begun to look just before
    assert value(engine, "serve_worker_restarts_total") == 0


def test_a_worker_that_dies_is_replaced_and_ready_only_after_an_answer(start):
    sick = threading.Event()

    def before(inputs):
        if sick.is_set():
            raise SystemExit

    engine = start(before, breaker_failures=1000)

    async def main():
        await engine.predict(["good"])
        assert engine.ready()
        sick.set()
        with pytest.raises(InferenceFailed):
            await engine.predict(["good"])
        await until(lambda: not engine.ready())
        with pytest.raises(Unavailable):
            await engine.probe()
        await until(lambda: value(engine, "serve_worker_restarts_total", reason="died") > 2)
        assert not engine.ready()
        sick.clear()
        await until(engine.ready)
        await engine.predict(["good"])
        await engine.probe()

    asyncio.run(main())
    assert engine.waiting == 0


def test_a_worker_that_dies_counts_once_for_the_breaker_even_while_it_probes(start):
    def before(inputs):
        raise SystemExit

    engine = start(before, breaker_failures=3, breaker_cooldown=60)

    async def main():
        with pytest.raises(InferenceFailed):
            await engine.predict(["good"])
        supervisor = engine._supervisor
        await until(lambda: not engine.backends[0].breaker.closed and supervisor.worker.is_alive())

    asyncio.run(main())
    assert value(engine, "serve_worker_restarts_total", reason="died") == 3


def test_when_inference_hangs_the_deadline_fires_and_the_fallback_answers(start, loaded, solo):
    fallback = Harmed(loaded["1"])
    engine = start(Gate(runs=1), fallback, deadline=60, hang_after=1)
    primary, (breaker, _) = engine.model, [backend.breaker for backend in engine.backends]

    async def main():
        with pytest.raises(DeadlineExceeded):  # the supervisor's error is InferenceFailed
            await engine.predict([TEXTS[0]], deadline=0.2)
        await until(lambda: not breaker.closed)
        await until(engine.ready)
        runs = len(primary.seen)

        held = Gate(runs=1)  # the trial takes its time, and fifty callers come
        primary.before = held
        await until(held.entered.is_set)
        answers = await together(engine, [[TEXTS[i % 20]] for i in range(50)])
        assert len(primary.seen) == runs + 1, "half-open, the model is asked once"
        for i, answer in enumerate(answers):
            assert (answer.version, answer.fallback) == ("1", True)
            assert np.allclose(answer.probabilities[0], solo[TEXTS[i % 20]], atol=1e-5)
        assert value(engine, "serve_breaker_state", version="2") == 1
        held.open.set()
        await until(lambda: breaker.closed)
        assert not (await engine.predict(["good"])).fallback

    gate = primary.before
    asyncio.run(main())
    assert value(engine, "serve_worker_restarts_total", reason="hung") == 1
    assert value(engine, "serve_unanswered_total", reason="expired") == 1
    gate.open.set()  # the lost worker comes back, and brings nothing
    asyncio.run(engine.predict(["good"]))
    assert engine.waiting == 0


def test_without_a_fallback_a_failing_model_is_skipped_and_tried_again_later(start):
    sick = threading.Event()

    def before(inputs):
        if sick.is_set():
            raise RuntimeError

    engine = start(before, breaker_failures=2, breaker_cooldown=0.3)

    async def main():
        sick.set()
        for _ in range(2):
            with pytest.raises(InferenceFailed):
                await engine.predict(["good"])
        runs = len(engine.model.seen)
        with pytest.raises(Unavailable):
            await engine.predict(["good"])
        assert len(engine.model.seen) == runs
        assert not engine.ready()
        assert value(engine, "serve_ready") == 0
        sick.clear()
        await until(engine.ready)
        await engine.predict(["good"])

    asyncio.run(main())


def test_a_model_that_fails_costs_no_caller_anything_when_there_is_a_fallback(start, loaded, solo):
    def before(inputs):
        raise RuntimeError

    engine = start(before, loaded["1"], breaker_cooldown=60)
    predictions = asyncio.run(together(engine, [[text] for text in TEXTS]))
    for text, prediction in zip(TEXTS, predictions, strict=True):
        assert prediction.fallback
        assert np.allclose(prediction.probabilities[0], solo[text], atol=1e-5)
        engine.metrics.all.prediction(prediction)
    assert engine.ready()
    assert value(engine, "serve_fallback_texts_total", version="1") == 20
    assert value(engine, "serve_breaker_state", version="2", answers_for="2") == 2


def test_a_tokenizer_that_raises_fails_its_caller_and_frees_the_place(start, monkeypatch):
    read = Harmed.encode

    def encode(model, texts):
        if POISON in texts:
            raise BaseException("a panic")
        return read(model, texts)

    monkeypatch.setattr(Harmed, "encode", encode)
    engine = start()

    async def main():
        with pytest.raises(InferenceFailed):
            await engine.predict([POISON])
        await engine.predict(["good"])

    asyncio.run(main())
    assert engine.waiting == 0


@pytest.mark.parametrize("with_fallback", [False, True])
def test_a_tokenizer_that_hangs_fails_its_caller_and_another_worker_takes_over(
    start, loaded, monkeypatch, with_fallback
):
    stuck, read = Gate(runs=1), Harmed.encode

    def encode(model, texts):
        if POISON in texts:
            stuck(texts)
        return read(model, texts)

    monkeypatch.setattr(Harmed, "encode", encode)
    engine = start(
        fallback=Harmed(loaded["1"]) if with_fallback else None, hang_after=0.2, deadline=20
    )

    async def main():
        with pytest.raises(InferenceFailed):
            await engine.predict([POISON])
        await until(engine.ready)
        answer = await engine.predict(["good"])
        stuck.open.set()  # the lost worker returns, and takes nothing from the queue
        return [answer, *await together(engine, [["good"]] * 30)]

    answers = asyncio.run(main())
    assert [type(answer) for answer in answers] == [Prediction] * 31
    asyncio.run(until(lambda: engine.waiting == 0))
    assert value(engine, "serve_worker_restarts_total", reason="hung") == 1


def test_a_fallback_whose_tokenizer_hangs_is_given_up_too(start, loaded, monkeypatch):
    stuck = Gate(runs=1)
    spare = Harmed(loaded["1"])

    def fails(inputs):
        raise RuntimeError

    def encode(texts):
        if POISON in texts:
            stuck(texts)
        return loaded["1"].encode(texts)

    spare.encode = encode
    engine = start(fails, spare, hang_after=0.2, deadline=20, breaker_cooldown=60)

    async def main():
        with pytest.raises(InferenceFailed):
            await engine.predict([POISON])

    asyncio.run(main())
    stuck.open.set()
    assert value(engine, "serve_worker_restarts_total", reason="hung") == 1


def test_drain_answers_what_was_admitted_and_close_leaves_no_thread(start):
    before = set(threading.enumerate())
    engine = start(Gate(runs=1))

    async def main():
        asked = [asyncio.create_task(engine.predict(["good"])) for _ in range(30)]
        await until(engine.model.before.entered.is_set)
        drained = asyncio.create_task(engine.drain())
        await asyncio.sleep(0.05)
        engine.model.before.open.set()
        await drained
        with pytest.raises(Unavailable):
            await engine.predict(["good"])
        assert not engine.ready()
        return await asyncio.gather(*asked)

    assert len(asyncio.run(main())) == 30
    engine.close()
    assert set(threading.enumerate()) <= before  # lost workers of earlier tests may end meanwhile
    text = engine.metrics.all.text().decode()
    assert "serve_model_info{" not in text
    assert "serve_unanswered_total{" in text


def test_versions_count_separately_and_closing_one_removes_only_its_gauges(loaded):
    metrics, options = Metrics(), Settings(registry=".")
    old = Engine(loaded["1"], options, metrics=metrics)
    new = Engine(loaded["2"], options, fallback=loaded["1"], metrics=metrics)
    again = Engine(loaded["1"], options, metrics=metrics)

    async def main():
        for engine, times in ((old, 1), (new, 2)):
            for _ in range(times):
                metrics.prediction(await engine.predict(["good", "bad"]))

    asyncio.run(main())
    assert value(new, "serve_texts_total", version="1") == 2
    assert value(new, "serve_texts_total", version="2") == 4
    assert value(new, "serve_model_info") == 2
    old.close()
    assert value(new, "serve_ready", version="1") == 1, "another engine of that version lives"
    again.close()
    assert value(new, "serve_model_info", version="1") == 0
    assert value(new, "serve_model_info", version="2") == 1
    assert value(new, "serve_texts_total", version="1") == 2
    new.close()


NAMES = (
    r"process_\w+|serve_ready|serve_on_cpu|serve_drift_(distance|limit|drifting|filled)"
    r"|serve_[a-z_]+_(seconds|tokens|texts|info|state|total)"
)


def test_metric_names_follow_one_rule(start):
    families = re.findall(r"# TYPE (\S+) \w+", start().metrics.all.text().decode())
    own = [name for name in families if not name.endswith("_created")]
    assert [name for name in own if not re.fullmatch(NAMES, name)] == []


def test_chaos_every_caller_gets_the_right_answer_or_a_clear_end(start, solo, loaded):
    """A thousand requests, some of which leave, with a model that breaks, dies and is short of
    memory; serving.md's test 7, small."""
    chance, harm = random.Random(7), poisonous(loaded["2"])

    def before(inputs):
        harm(inputs)
        drawn = chance.random()
        if drawn < 0.01:
            raise SystemExit
        if drawn < 0.05:
            raise RuntimeError("a fault")
        if drawn < 0.10 and len(inputs["input_ids"]) > 1:
            raise MemoryError

    # Sixty callers at a time and a long deadline: however slow the machine is, none is refused.
    engine = start(before, loaded["1"], max_waiting_texts=256, deadline=120)
    places = asyncio.Semaphore(60)

    async def caller(i: int) -> str:
        async with places:
            return await ask(i)

    async def ask(i: int) -> str:
        texts = [TEXTS[(i + j) % 20] for j in range(i % 3 + 1)]
        if i % 50 == 7:
            texts.append(POISON)
        try:
            async with asyncio.timeout(0.003 if i % 10 == 3 else None):
                prediction = await engine.predict(texts)
        except (TimeoutError, InferenceFailed) as error:
            return type(error).__name__
        if (
            POISON in texts
        ):  # a fault during the probe lets the fallback, which it does not harm, try
            assert prediction.fallback
            texts.remove(POISON)
        right = [solo[text] for text in texts]
        assert np.allclose(prediction.probabilities[: len(texts)], right, atol=1e-5)
        return "answered"

    async def main():
        return await asyncio.gather(*(caller(i) for i in range(1_000)))

    ends = asyncio.run(main())
    assert ends.count("answered") > 600
    assert value(engine, "serve_worker_restarts_total", reason="died") >= 1
    asyncio.run(until(lambda: engine.waiting == 0))
    assert engine.queued == (0, 0)
    assert value(engine, "serve_waiting_texts") == value(engine, "serve_queue_tokens") == 0
    assert value(engine, "serve_unanswered_total") == 1_000 - ends.count("answered")
    asyncio.run(until(engine.ready))
