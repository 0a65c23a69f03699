"""Which texts go next, and what becomes of each: without threads, with a simulated clock."""

import itertools
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tutorial_utils.registry import Manifest, ModelForm
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.serving.engine import batcher as batcher_module
from tutorial_utils.serving.engine import supervisor
from tutorial_utils.serving.engine.backend import PROBE, Backend
from tutorial_utils.serving.engine.batcher import Batcher
from tutorial_utils.serving.engine.breaker import Breaker
from tutorial_utils.serving.engine.failures import (
    DeadlineExceeded,
    InferenceFailed,
    Overloaded,
    Unavailable,
)
from tutorial_utils.serving.engine.metrics import EngineMetrics, Metrics
from tutorial_utils.serving.engine.request import Item, Request
from tutorial_utils.serving.engine.worker import Abandoned, Worker
from tutorial_utils.tasks import TASKS

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Echo:
    """A model whose answer to the text "7x3", three tokens long, is [7, 3] plus ``shift``."""

    def __init__(self, version="1", shift=0.0, task="regression", padding=Padding(), fault=None):
        self.recipe = Recipe(token_budget=64, padding=padding)
        self.form = ModelForm("echo.onnx", self.recipe)
        self.manifest = Manifest("echo", version, ("number", "length"), (self.form,), {}, task)
        self.shift, self.padding, self.fault, self.runs = shift, padding, fault, 0

    def encode(self, texts: list[str]) -> list[list[int]]:
        pairs = (map(int, t.replace(PROBE, "1x1").split("x")) for t in texts)
        return [[number] * length for number, length in pairs]

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        self.runs += 1
        if self.fault:
            self.fault(inputs)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        edge = -1 if self.padding.side == "left" else 0
        assert (mask[:, edge] == 1).all(), "padded on the wrong side"
        answers = np.stack([ids[:, edge], mask.sum(axis=1)], axis=1)
        return answers.astype(np.float32) + self.shift


def asked(texts, clock=None, deadline=5.0) -> Request:
    request = Request(texts, deadline)
    if clock:
        request.submitted, request.expires = clock.now, clock.now + deadline
    return request


def enter(batcher: Batcher, request: Request) -> Request:
    batcher.admit(request)
    return request


def reader(encode):
    return lambda request: request.read(encode)


def take(batcher: Batcher) -> list[Item]:
    return batcher.take(reader(Echo().encode))


def backend(model, fallback=False) -> Backend:
    return Backend(model, Breaker(failures=2), fallback)


def worker(batcher: Batcher, *backends: Backend) -> Worker:
    class Silent:
        model, waiting, queued, ready = backends[0].model, 0, (0, 0), staticmethod(lambda: True)

    Silent.backends = backends
    return Worker(batcher, backends, EngineMetrics(Metrics(), Silent), proven=True)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 100))
@settings(deadline=None)
def test_batches_keep_the_budget_and_padding_pays_for_itself(lengths, budget, overhead):
    batches = batching.by_tokens(lengths, budget, overhead)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[i] for i in batch]
        assert len(batch) == 1 or len(batch) * max(sizes) <= budget
        assert max(sizes) * (len(sizes) - 1) - sum(sorted(sizes)[:-1]) <= overhead
    # The shortest first, and so the most texts first: the batcher counts on it.
    counts = [len(b) for b in batching.by_tokens(lengths, budget)]
    assert counts == sorted(counts, reverse=True)


def flood(max_age: float) -> float:
    """When a long text goes into the model, while short ones never end; at most 100 s."""
    clock = Clock()
    batcher = Batcher(limit=1_000, budget=64, max_age=max_age, clock=clock)
    long = enter(batcher, asked(["1x60"], clock, math.inf))
    while clock.now < 100:
        while batcher.queued[0] < 20:
            enter(batcher, asked(["2x8"], clock, math.inf))
        batch = take(batcher)
        if batch[0].request is long:
            return clock.now
        clock.now += 0.1
        batcher.took(64, 0.1)
        batcher.release(batch)
    return math.inf


@given(st.floats(0.2, 20))
@settings(deadline=None)
def test_a_long_text_under_a_flood_of_short_ones_waits_no_longer_than_the_age_bound(max_age):
    assert flood(max_age) <= max_age


def test_without_the_bound_it_would_wait_for_ever():
    assert flood(math.inf) == math.inf


class OneByOne:
    """No batching: the oldest text alone."""

    def wait(self, texts, age):
        return 0.0

    def consider(self, tokens):
        return 1

    def choose(self, lengths, age, token_seconds):
        return [0]


class Pairs(OneByOne):
    """Batches of two, or of one after an hour."""

    def wait(self, texts, age):
        return 0.0 if texts >= 2 else 3_600 - age

    def consider(self, tokens):
        return 2

    def choose(self, lengths, age, token_seconds):
        return range(len(lengths))


def test_a_policy_decides_which_texts_share_a_batch():
    batcher = Batcher(limit=9, budget=64, max_age=1, policy=OneByOne())
    requests = [enter(batcher, asked([text])) for text in ("1x30", "2x3", "3x3")]
    assert [take(batcher) for _ in requests] == [request.items for request in requests]


def test_a_policy_may_wait_for_more_texts():
    clock = Clock()
    batcher = Batcher(limit=9, budget=64, max_age=1, clock=clock, policy=Pairs())
    with ThreadPoolExecutor(1) as pool:
        first = enter(batcher, asked(["1x3"], clock, math.inf))
        taken = pool.submit(take, batcher)
        second = enter(batcher, asked(["2x3"], clock, math.inf))
        assert taken.result(10) == first.items + second.items
    lone = enter(batcher, asked(["3x3"], clock, math.inf))
    clock.now = 3_600
    assert take(batcher) == lone.items


def test_a_queue_of_q_refuses_exactly_what_is_over_q():
    batcher = Batcher(limit=5, budget=64, max_age=1)
    batcher.admit(asked(["1x1"] * 4))
    with pytest.raises(Overloaded):  # whole or not at all
        batcher.admit(asked(["1x1"] * 2))
    batcher.admit(asked(["1x1"]))
    for _ in range(2):
        with pytest.raises(Overloaded) as refusal:
            batcher.admit(asked(["1x1"]))
        assert refusal.value.retry_after >= 1
    assert batcher.waiting == 5


def test_a_refusal_says_how_long_the_queue_will_take():
    batcher = Batcher(limit=4, budget=64, max_age=1)
    enter(batcher, asked(["a" * 192] * 4))  # of about 50 tokens each
    batcher.took(tokens=64, seconds=6.4)
    with pytest.raises(Overloaded) as refusal:
        batcher.admit(asked(["1x1"]))
    assert refusal.value.retry_after in (20, 21)


TOKEN = 0.001  # seconds a token takes in the tests of overload


def overload(times: float, deadline=2.0, seconds=5.0) -> tuple[float, int]:
    """At ``times`` the capacity: share of the time spent on answers in time; and how many late."""
    clock, due, good, late = Clock(), 0.0, 0, 0
    batcher = Batcher(limit=10**6, budget=64, max_age=0.1, clock=clock)
    lengths = itertools.cycle([8, 3, 13, 40, 8, 5])
    while clock.now < seconds:
        while due <= clock.now:
            length, now = next(lengths), clock.now
            text = f"1x{length}".ljust(4 * length)  # as many characters a token as English has
            request = asked([text], clock, deadline)
            with suppress(Overloaded):
                enter(batcher, request)
            due += length * TOKEN / times
        if not batcher.queued[0]:
            clock.now = due
            continue
        waited = batcher.queued[0]
        batch = take(batcher)
        late += waited - len(batch) - batcher.queued[0]  # dropped, since they were late already
        tokens = sum(len(item.row) for item in batch)
        clock.now += tokens * TOKEN
        in_time = [item for item in batch if item.request.expires >= clock.now]
        good += sum(len(item.row) for item in in_time)
        late += len(batch) - len(in_time)
        batcher.release(batch)
        batcher.took(tokens, tokens * TOKEN)
        assert clock.now > now
    return good * TOKEN / clock.now, late


@given(st.floats(1.2, 10))
@settings(max_examples=10, deadline=None)
def test_beyond_capacity_the_work_goes_into_answers_that_come_in_time(times):
    share, late = overload(times)
    assert share > 0.95
    assert late == 0


def test_without_admission_control_they_would_come_too_late(monkeypatch):
    monkeypatch.setattr(batcher_module, "WAIT_SHARE", math.inf)
    share, late = overload(3)
    assert late > 100
    assert share < 0.9


def test_a_request_to_an_empty_queue_is_admitted_however_slow_the_last_run_was():
    batcher = Batcher(limit=9, budget=64, max_age=1)
    batcher.took(tokens=64, seconds=1e6)
    enter(batcher, asked(["1x3"]))
    with pytest.raises(Overloaded):
        batcher.admit(asked(["1x3"]))


def test_a_text_that_is_not_tokenized_yet_counts_no_more_than_the_model_reads_of_it():
    batcher = Batcher(limit=9, budget=64, max_age=1, longest=50)
    batcher.took(tokens=64, seconds=6.4)
    batcher.admit(asked(["a" * 100_000], deadline=8.0))
    batcher.admit(asked(["1x3"], deadline=8.0))  # 50 tokens of 0.1 s wait, and not 25,000
    with pytest.raises(Overloaded):
        batcher.admit(asked(["1x3"], deadline=6.0))


def test_texts_are_tokenized_as_far_as_a_batch_is_chosen_and_not_for_those_who_left():
    read = []

    def encode(texts):
        read.extend(texts)
        return [[1] * 8 for _ in texts]

    batcher = Batcher(limit=1_000, budget=16, max_age=1)
    gone, *others = [enter(batcher, asked([f"{i}" * 32])) for i in range(100)]
    gone.future.cancel()
    batcher.drop(gone)
    assert len(batcher.take(reader(encode))) == 2
    assert read == [item.text for request in others[: len(read)] for item in request.items]
    assert len(read) < 10


def test_the_tokens_of_a_pair_are_guessed_from_the_characters_of_both_texts():
    batcher = Batcher(limit=8, budget=64, max_age=1.0)
    batcher.admit(Request([("a" * 100, "b" * 60)], deadline=5.0))
    assert batcher.queued == (1, 42)
    batcher.admit(Request(["a" * 160], deadline=5.0))
    assert batcher.queued == (2, 84)


def test_the_guess_at_the_tokens_of_a_text_follows_those_that_have_been_read():
    batcher = Batcher(limit=10_000, budget=16, max_age=1)
    enter(batcher, asked(["漢" * 40]))
    assert batcher.queued == (1, 12)
    for _ in range(500):  # a token for each character
        batcher.take(reader(lambda texts: [[1] * len(text) for text in texts]))
        enter(batcher, asked(["漢" * 40]))
    assert batcher.queued == (1, pytest.approx(42, abs=1))


def test_lone_texts_and_batches_that_nobody_waited_for_cause_no_refusal():
    batcher = Batcher(limit=9, budget=64, max_age=1)
    batcher.took(tokens=64, seconds=0.1)
    batcher.took(tokens=0, seconds=1e6)
    batcher.admit(asked(["1x3"]))
    batcher.admit(asked(["1x3"]))
    batcher = Batcher(limit=9, budget=64, max_age=1)
    for _ in range(100):
        batcher.took(tokens=3, seconds=10.0)
    batcher.admit(asked(["1x3"]))
    batcher.admit(asked(["1x3"]))


def test_the_pace_is_that_of_the_time_in_which_there_was_work():
    batcher = Batcher(limit=9, budget=3, max_age=1)
    hand = worker(batcher, backend(Echo()))
    time.sleep(0.1)
    began = time.perf_counter()
    enter(batcher, asked(["1x3"]))
    hand.step()
    assert batcher._worked <= time.perf_counter() - began, "the time without work does not count"
    enter(batcher, asked(["1x3"]))
    time.sleep(0.1)  # the worker is kept from its work
    hand.step()
    assert batcher._worked > 0.1


def test_a_request_that_is_not_read_yet_needs_more_room_than_one_text():
    batcher = Batcher(limit=64, budget=64, max_age=1)
    batcher.admit(asked(["1x1"] * 60))
    assert batcher.full(5.0) is None
    batcher.admit(asked(["1x1"]))
    assert batcher.full(5.0).retry_after >= 1
    batcher.admit(asked(["1x1"] * 3))  # a request that was read is admitted while there is room


def test_a_lone_text_is_taken_at_once_however_young():
    batcher = Batcher(limit=4, budget=64, max_age=1e9)
    request = enter(batcher, asked(["1x3"]))
    assert take(batcher) == request.items


def test_late_and_cancelled_texts_never_reach_the_model():
    clock, model = Clock(), Echo()
    batcher = Batcher(limit=9, budget=64, max_age=1, clock=clock)
    late = enter(batcher, asked(["1x3", "2x3"], clock, deadline=1))
    gone = enter(batcher, asked(["3x3"], clock, deadline=9))
    gone.future.add_done_callback(lambda _: batcher.drop(gone))
    clock.now = 2.0
    kept = enter(batcher, asked(["4x3"], clock, deadline=9))
    gone.future.cancel()
    worker(batcher, backend(model)).step()
    assert kept.future.result(0).probabilities.tolist() == [[4, 3]]
    with pytest.raises(DeadlineExceeded):
        late.future.result(0)
    assert (model.runs, batcher.waiting) == (1, 0)


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_padded_as_the_recipe_says_and_texts_of_requests_go_together(side):
    model = Echo(padding=Padding(token=9, side=side))
    batcher = Batcher(limit=9, budget=64, max_age=1)
    first, second = enter(batcher, asked(["1x3", "2x7"])), enter(batcher, asked(["3x5"]))
    worker(batcher, backend(model)).step()
    assert first.future.result(0).probabilities.tolist() == [[1, 3], [2, 7]]
    assert second.future.result(0).probabilities.tolist() == [[3, 5]]
    assert model.runs == 1


def test_logits_become_what_the_task_says():
    logits = np.array([[0.0, 2.0], [1e4, -1e4]], dtype=np.float32)
    assert TASKS["single_label"].answers(logits).sum(axis=1) == pytest.approx([1, 1])
    expected = [[0.5, 1 / (1 + math.exp(-2))], [1, 0]]
    assert TASKS["multi_label"].answers(logits) == pytest.approx(np.array(expected))
    assert TASKS["regression"].answers(logits) is logits


def test_a_request_is_answered_by_one_model_even_when_it_changes_in_between():
    def breaks(inputs):
        if first.runs > 1:
            raise RuntimeError

    first, second = Echo("2", fault=breaks), Echo("1", shift=0.5)
    batcher = Batcher(limit=9, budget=8, max_age=1)
    request = enter(batcher, asked(["1x5", "2x6", "3x7"]))
    hand = worker(batcher, backend(first), backend(second, fallback=True))
    while not request.future.done():
        hand.step()
    answer = request.future.result(0)
    assert answer.probabilities.tolist() == [[1.5, 5.5], [2.5, 6.5], [3.5, 7.5]]
    assert (answer.version, answer.fallback) == ("1", True)


def test_answers_that_are_no_numbers_are_failures():
    batcher = Batcher(limit=9, budget=64, max_age=1)
    request = enter(batcher, asked(["1x5"]))
    hand = worker(batcher, backend(Echo(shift=math.nan)))
    hand.step()
    with pytest.raises(InferenceFailed):
        request.future.result(0)


class Dies(BaseException):
    pass


class Still(Worker):
    """A worker that moves only when it is told to."""

    dead = False

    def start(self) -> None:
        pass

    def is_alive(self) -> bool:
        return not self.dead


class Life(RuleBasedStateMachine):
    """Whatever arrives, leaves, is late, breaks, dies or hangs: each future resolves, once."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(supervisor, "Worker", Still)
        self.clock, self.fault = Clock(), "none"
        self.first, self.second = Echo("2", fault=self.harm), Echo("1", 0.5, fault=self.harm_both)
        self.batcher = Batcher(limit=12, budget=30, max_age=2, clock=self.clock)
        self.batcher.took = lambda tokens, seconds: None  # seconds of the machine's clock
        self.backends = [
            Backend(self.first, Breaker(2, 3.0, self.clock)),
            Backend(self.second, Breaker(2, 3.0, self.clock), fallback=True),
        ]
        self.metrics = worker(self.batcher, *self.backends)._metrics
        self.watch = supervisor.Supervisor(self.batcher, self.backends, self.metrics, hang_after=-1)
        self.requests, self.resolved = [], []

    def harm(self, inputs) -> None:
        if (inputs["input_ids"] == 13).any():
            raise ValueError("poison")
        match self.fault:
            case "memory" if len(inputs["input_ids"]) > 1:
                raise MemoryError
            case "broken" | "both broken":
                raise RuntimeError("broken")
            case "dies":
                self.watch.worker.dead = True
                raise Dies
            case "hangs":  # the supervisor finds it at it, and it comes back later
                self.look()

    def harm_both(self, inputs) -> None:
        if (inputs["input_ids"] == 13).any() or self.fault == "both broken":
            raise ValueError

    @rule(texts=st.lists(st.tuples(st.sampled_from([1, 2, 3, 13]), st.integers(1, 20)),
                         min_size=1, max_size=5))  # fmt: skip
    def arrive(self, texts):
        request = asked([f"{number}x{length}" for number, length in texts], self.clock)
        try:
            self.batcher.admit(request)
        except Overloaded:
            assert self.batcher.waiting + len(texts) > 12
            return
        request.future.add_done_callback(lambda _: self.resolved.append(request))
        request.future.add_done_callback(lambda _: self.batcher.drop(request))
        self.requests.append((request, texts))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def leave(self, data):
        data.draw(st.sampled_from(self.requests))[0].future.cancel()

    @rule(seconds=st.sampled_from([0.5, 4.0]))
    def wait(self, seconds):
        self.clock.now += seconds

    @precondition(lambda self: self.batcher.queued[0])
    @rule(fault=st.sampled_from(
        ["none", "memory", "broken", "both broken", "dies", "hangs"]))  # fmt: skip
    def work(self, fault):
        if any(i.request.expires > self.clock.now for i in self.batcher._queue):
            self.fault = fault
            try:
                self.watch.worker.step()
            except Dies:
                self.look()
            except Abandoned:
                pass
            self.fault = "none"

    def look(self) -> None:
        """Let the supervisor act, and its trials end: threads in any order would not repeat."""
        self.fault = "none"
        self.watch.look()
        for thread in threading.enumerate():
            if thread.name == "trial":
                thread.join()

    @rule()
    def probe(self):
        for each in self.backends:
            if each.breaker.admit_probe():
                self.watch._try(each)

    @invariant()
    def places_are_held_by_the_living(self):
        assert self.batcher.waiting == self.batcher.queued[0]

    def teardown(self):
        while self.batcher.queued[0]:
            self.clock.now += 0.1
            self.work("none")
            if not any(i.request.expires > self.clock.now for i in self.batcher._queue):
                break
        self.batcher.close()
        self.patch.undo()
        assert (self.batcher.waiting, self.batcher.queued) == (0, (0, 0))
        assert self.batcher._held_tokens == 0
        assert len(self.resolved) == len(self.requests)
        assert set(self.resolved) == {request for request, _ in self.requests}
        for request, texts in self.requests:
            if request.future.cancelled() or request.future.exception():
                allowed = (
                    DeadlineExceeded,
                    InferenceFailed,
                    Unavailable,
                )
                assert request.future.cancelled() or isinstance(request.future.exception(), allowed)
                continue
            answer = request.future.result()
            assert 13 not in [number for number, _ in texts]
            right = np.array(texts) + (0.5 if answer.fallback else 0.0)
            assert answer.version == ("1" if answer.fallback else "2")
            assert np.array_equal(answer.probabilities, right)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
