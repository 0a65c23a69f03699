"""An open loop records the result of each request, answered or not."""

import service

from benchmarks.servers import free_port
from tutorial_utils.bench import load_generator
from tutorial_utils.serving.rollout.traffic import place
from tutorial_utils.serving.settings import Settings

BODIES = [{"texts": [word]} for word in ("one", "two", "three")]


def test_each_request_has_one_answer_and_answers_are_in_the_order_of_their_ends(tmp_path):
    service.publish(tmp_path)
    with service.running(Settings(registry=tmp_path)) as client:
        run = load_generator.offer(
            f"http://127.0.0.1:{client.port}/predict", BODIES, rate=60, seconds=0.5
        )
    numbers = [answer.number for answer in run.answers]
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) == run.statuses[200] == len(run.latencies_ms)
    ends = [answer.ended for answer in run.answers]
    assert ends == sorted(ends)
    for answer in run.answers:
        assert 0 < answer.due < answer.ended
        assert answer.body["version"] == "1"


def test_requests_have_the_names_of_callers_in_turns(tmp_path):
    for _ in range(2):
        service.publish(tmp_path)
    names = [f"caller {i}" for i in range(7)]
    trial = {"version": "1", "canary": "2", "canary_share": 0.5}
    with service.running(Settings(registry=tmp_path, **trial)) as client:
        url = f"http://127.0.0.1:{client.port}/predict"
        run = load_generator.offer(url, BODIES, rate=60, seconds=0.5, callers=names)
    assert {answer.body["version"] for answer in run.answers} == {"1", "2"}
    for answer in run.answers:
        inside = place(names[answer.number % len(names)], ":2") < 0.5
        assert answer.body["version"] == ("2" if inside else "1")


def test_a_refused_connection_has_status_0_and_the_name_of_the_error():
    port = free_port()
    run = load_generator.offer(f"http://127.0.0.1:{port}/predict", BODIES, rate=40, seconds=0.2)
    assert set(run.statuses) == {0}
    assert {answer.reply.error for answer in run.answers} == {"ConnectionRefusedError"}
    assert [answer.body for answer in run.answers] == [{}] * len(run.answers)
    assert run.goodput == 0
