"""The timer, with work of known length. No test asserts that something is fast."""

import itertools
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_utils.bench import timer
from tutorial_utils.bench.intervals import Ratio


@dataclass(frozen=True)
class Sleep:
    seconds: float
    items: int = 1

    def build(self):
        return lambda: time.sleep(self.seconds)


@dataclass(frozen=True)
class Recorder:
    """Records when it runs, and in which process."""

    path: str
    items: int = 1

    def build(self):
        def call():
            start = time.monotonic()
            time.sleep(0.01)
            with open(self.path, "a") as file:
                file.write(f"{os.getpid()} {start} {time.monotonic()}\n")

        return call


@dataclass(frozen=True)
class Fails:
    when: str
    items: int = 1

    def build(self):
        if self.when == "build":
            raise ValueError("no such model")
        if self.when == "dies":
            return lambda: os._exit(7)
        return lambda: 1 / 0


@dataclass(frozen=True)
class Hungry:
    megabytes: int
    items: int = 1

    def build(self):
        kept = bytearray(os.urandom(1)) * (self.megabytes * 1_000_000)
        return lambda: len(kept)


def children() -> set[int]:
    return {
        child.pid
        for child in psutil.Process().children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    }


def test_known_durations_are_in_the_right_order_with_verdicts():
    result = timer.compare({"slow": Sleep(0.02), "fast": Sleep(0.005)}, rounds=4, seconds=0.05)
    rounds = result.rounds
    assert result.verdicts == {"fast": Ratio.of_rounds(rounds["fast"], rounds["slow"])}
    assert result.verdict("slow", "fast") == Ratio.of_rounds(rounds["slow"], rounds["fast"])
    assert result.verdicts["fast"].ratio < 1 < result.verdict("slow", "fast").ratio
    timing = result.timings["slow"]
    assert 20 <= timing.p50_ms <= timing.p95_ms
    assert result.table().rows[1][-1] == result.verdicts["fast"].word


@given(
    times=st.lists(st.lists(st.floats(0.1, 1e3), min_size=1, max_size=5), min_size=4, max_size=8),
    items=st.integers(1, 64),
)
def test_a_ratio_is_that_of_the_milliseconds_beside_it(times, items):
    half = len(times) // 2
    turns = {"one": times[:half], "batch": times[half : 2 * half]}
    candidates = {"one": Sleep(0), "batch": Sleep(0, items=items)}
    result = timer._summarise(candidates, turns, dict.fromkeys(turns, 1.0))
    per_item = {name: t.p50_ms / t.items for name, t in result.timings.items()}
    ratio = result.verdicts["batch"].ratio
    assert ratio == pytest.approx(per_item["batch"] / per_item["one"])


def test_throughput_counts_items_and_ratios_are_per_item():
    result = timer.compare({"one": Sleep(0.01), "batch": Sleep(0.02, items=8)}, rounds=3)
    timing = result.timings["batch"]
    assert timing.items_per_s == pytest.approx(8 * 1e3 / timing.mean_ms)
    medians = {name: timing.p50_ms for name, timing in result.timings.items()}
    assert result.verdicts["batch"].ratio < 0.6 < medians["batch"] / medians["one"]


def test_candidates_run_in_their_own_processes_and_never_at_the_same_time(tmp_path):
    path = tmp_path / "runs.txt"
    recorders = {name: Recorder(str(path)) for name in "ab"}
    # Warm-ups may overlap; timed calls may not.
    timer.compare(recorders, rounds=3, seconds=0.05, warmup=0)
    runs = [line.split() for line in path.read_text().splitlines()]
    assert len({pid for pid, _, _ in runs}) == 2
    assert str(os.getpid()) not in {pid for pid, _, _ in runs}
    spans = sorted((float(start), float(end)) for _, start, end in runs)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    turns = [pid for i, (pid, _, _) in enumerate(runs) if i == 0 or runs[i - 1][0] != pid]
    assert len(turns) >= 4  # they alternate: rounds, not one block after the other


def test_peak_memory_is_that_of_the_candidates_process():
    result = timer.compare({"small": Hungry(1), "large": Hungry(301)}, rounds=2, seconds=0.01)
    difference = result.timings["large"].peak_mb - result.timings["small"].peak_mb
    assert difference == pytest.approx(300, rel=0.15)


@pytest.mark.parametrize(
    ("when", "message"), [("build", "no such model"), ("call", "ZeroDivisionError"), ("dies", "7")]
)
def test_a_candidate_that_fails_is_named_and_no_process_is_left(when, message):
    with pytest.raises(timer.CandidateFailed, match=f"(?s)'bad'.*{message}"):
        timer.compare({"good": Sleep(0.001), "bad": Fails(when)}, rounds=2)
    assert children() == set()


@dataclass(frozen=True)
class KilledBetweenTurns:
    """A child kills this process as soon as it is suspended."""

    items: int = 1

    def build(self):
        code = (
            "import os, psutil, signal, sys, time; p = psutil.Process(int(sys.argv[1]))\n"
            "while p.status() != psutil.STATUS_STOPPED: time.sleep(0.001)\n"
            "os.kill(p.pid, signal.SIGKILL)"
        )
        child = [sys.executable, "-c", code, str(os.getpid())]
        subprocess.Popen(child)
        return lambda: None


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_candidate_killed_while_suspended_is_named_with_its_exit_code():
    candidates = {"good": Sleep(0.01), "bad": KilledBetweenTurns()}
    with pytest.raises(timer.CandidateFailed, match="'bad' ended with exit code -9"):
        timer.compare(candidates, rounds=1_000, seconds=0.05)
    assert children() == set()


@pytest.mark.parametrize("method", ["stop_when_ready", "turn"])
def test_each_request_to_a_dead_process_fails_with_the_same_error(method):
    worker = timer._Worker("bad", Sleep(0.001), warmup=1)
    try:
        if method != "stop_when_ready":
            worker.stop_when_ready()
        worker.process.kill()
        worker.process.join()  # reaped, so its process id no longer exists
        with pytest.raises(timer.CandidateFailed, match="'bad' ended with exit code -9"):
            getattr(worker, method)(*([0.01, 1] if method == "turn" else []))
    finally:
        worker.kill()


def test_a_quick_pace_limits_the_rounds(monkeypatch):
    monkeypatch.setenv("TUTORIAL_PACE", "quick")
    result = timer.compare({"a": Sleep(0.001), "b": Sleep(0.001)}, rounds=9, seconds=5)
    assert {len(rounds) for rounds in result.rounds.values()} == {timer.QUICK_ROUNDS}


def test_no_process_is_left_after_a_comparison():
    timer.compare({"a": Sleep(0.001), "b": Sleep(0.001)}, rounds=2, seconds=0.01)
    assert children() == set()


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="two rounds"):
        timer.compare({})
    with pytest.raises(ValueError, match="two rounds"):
        timer.compare({"a": Sleep(0.001)}, rounds=1)
