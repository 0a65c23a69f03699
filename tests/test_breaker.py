"""The breaker against a model of it, and against fifty threads at once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from hypothesis import given, settings
from hypothesis import strategies as st

from tutorial_utils.serving.engine.breaker import CLOSED, HALF_OPEN, OPEN, Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


STEPS = st.lists(st.sampled_from(["success", "failure", "trip", "wait", "probe"]), max_size=40)


@given(STEPS)
@settings(deadline=None)
def test_every_history_ends_in_the_state_that_the_rules_give(steps):
    clock, state, row, opened = Clock(), CLOSED, 0, 0.0
    breaker = Breaker(failures=2, cooldown=1.0, clock=clock)
    for step in steps:
        match step:
            case "wait":
                clock.now += 0.6
            case "probe":
                admitted = state == OPEN and clock.now - opened >= 1
                assert breaker.admit_probe() == admitted
                state = HALF_OPEN if admitted else state
            case "success":
                breaker.success()
                state, row = (state, row) if state == OPEN else (CLOSED, 0)
            case "failure" | "trip":
                getattr(breaker, step)()
                row += 1
                if step == "trip" or state == HALF_OPEN or row == 2:
                    state, opened, row = OPEN, clock.now, 0
        assert breaker.state == state
        assert breaker.closed == (state == CLOSED)


def test_half_open_admits_exactly_one_of_fifty_callers():
    clock = Clock()
    breaker, gate = Breaker(cooldown=1.0, clock=clock), Barrier(50)
    breaker.trip()
    clock.now = 1.0

    def caller(_) -> bool:
        gate.wait()
        return breaker.admit_probe()

    with ThreadPoolExecutor(50) as callers:
        for expected, report in ((1, breaker.failure), (0, lambda: None)):
            assert sum(callers.map(caller, range(50))) == expected
            report()
        clock.now = 2.0
        assert sum(callers.map(caller, range(50))) == 1
    breaker.success()
    assert breaker.closed
