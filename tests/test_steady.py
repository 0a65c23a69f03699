"""Load that goes on until it is stopped."""

import time

import service

from tutorial_utils.lessons.steady import Steady
from tutorial_utils.serving.settings import Settings

BODIES = [{"texts": [word]} for word in ("one", "two", "three")]


def test_it_goes_on_until_it_is_stopped_and_each_request_has_an_answer(tmp_path):
    service.publish(tmp_path)
    with service.running(Settings(registry=tmp_path)) as client:
        load = Steady(f"http://127.0.0.1:{client.port}/predict", BODIES, rate=100)
        end = time.monotonic() + 30
        while load.answered_by("1") < 10:
            assert time.monotonic() < end
            time.sleep(0.01)
        run = load.stop()
    assert run.statuses == {200: len(run.answers)}
    assert sorted(a.number for a in run.answers) == list(range(len(run.answers)))
    assert all(0 < a.due < a.ended <= run.seconds for a in run.answers)
    assert load.answered_by("2") == 0


def test_a_seed_changes_the_moments_and_not_the_order():
    def moments(seed):
        load = Steady("http://127.0.0.1:9/predict", BODIES, rate=200, seed=seed)
        while len(load.answers) < 3:
            time.sleep(0.01)
        return [a.due for a in sorted(load.stop().answers, key=lambda a: a.number)][:3]

    assert moments(0) == moments(0) != moments(1)


def test_a_refused_connection_is_an_answer_too():
    load = Steady("http://127.0.0.1:9/predict", BODIES, rate=200)
    while len(load.answers) < 3:
        time.sleep(0.01)
    assert {a.reply.error for a in load.stop().answers} == {"ConnectionRefusedError"}
