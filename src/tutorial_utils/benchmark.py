"""Fair timing: a process per candidate, rounds in turn, a verdict with its interval.

Two models timed in one process disturb each other: the idle threads of the first spin for a while
and take cores from the second. Here each candidate has a process of its own, and all but the one
being timed are stopped by the operating system. Rounds alternate, so a machine that slows down
over time slows all candidates, and ratios are taken within a round.
"""

import multiprocessing
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import psutil

from tutorial_utils import machine
from tutorial_utils.errors import InvalidArgument, TutorialError
from tutorial_utils.tables import Table

RESOLUTION = 0.03  # two processes of one and the same candidate differ by about this much
CONFIDENCE = 0.95
# Where outputs are proven and times are not kept (TUTORIAL_PACE=quick): at most so many rounds and
# seconds. Verdicts found like this are worth little.
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.05


class CandidateFailed(TutorialError, RuntimeError):
    """A candidate could not be built or run; the message holds its traceback."""

    exit_code: ClassVar[int] = 3  # what is timed was built and checked before


class CandidateKilled(CandidateFailed):
    """The process of a candidate ended without an error message, as for lack of memory."""

    exit_code: ClassVar[int] = 2


class Candidate(Protocol):
    """What can be timed: a picklable object that builds its own work in its own process."""

    items: int  # items (texts) that one call handles

    def build(self) -> Callable[[], object]:
        """Load everything; return the function to be timed.

        It may have an attribute ``brief``: a shorter call, with which each turn then begins.
        """


@dataclass(frozen=True)
class Timing:
    """Latency of one call in milliseconds, throughput in items, peak memory of the process."""

    name: str
    items: int
    calls: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    items_per_s: float
    peak_mb: float


@dataclass(frozen=True)
class Verdict:
    """Time of ``name`` relative to ``reference``: below 1 is faster.

    ratio: geometric mean over the rounds; low, high: its 95 % bootstrap interval over rounds.
    """

    name: str
    reference: str
    ratio: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """*faster* or *slower* when the whole interval lies outside 1 ± ``RESOLUTION``."""
        if self.high < 1 - RESOLUTION:
            return "faster"
        if self.low > 1 + RESOLUTION:
            return "slower"
        return "no measurable difference"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.ratio:.2f} × the time of {self.reference} "
            f"[{self.low:.2f}, {self.high:.2f}]: {self.word}"
        )


@dataclass(frozen=True)
class Comparison:
    """Timings of all candidates and a verdict on each against the first."""

    timings: dict[str, Timing]
    verdicts: dict[str, Verdict]
    rounds: dict[str, tuple[float, ...]]  # median milliseconds per item, by round
    machine: str

    def verdict(self, name: str, reference: str) -> Verdict:
        """Judge any pair of this run's candidates."""
        return judge(name, self.rounds[name], reference, self.rounds[reference])

    def table(self) -> Table:
        """One row a candidate, the reference first."""
        headers = ("candidate", "p50 ms", "p95", "p99", "mean", "items/s", "peak MB")
        headers += ("time ratio", "95 % interval", "verdict")
        rows = []
        for name, t in self.timings.items():
            row = [name, f"{t.p50_ms:.2f}", f"{t.p95_ms:.2f}", f"{t.p99_ms:.2f}"]
            row += [f"{t.mean_ms:.2f}", f"{t.items_per_s:,.0f}", f"{t.peak_mb:,.0f}"]
            if name in self.verdicts:
                v = self.verdicts[name]
                row += [f"{v.ratio:.2f}", f"[{v.low:.2f}, {v.high:.2f}]", v.word]
            else:
                row += ["1", "–", "reference"]
            rows.append(row)
        return Table.of(headers, rows)

    def __repr__(self) -> str:
        return f"{self.table()}\n{self.machine}"

    def _repr_html_(self) -> str:
        return f"{self.table()._repr_html_()}<p>{self.machine}</p>"


def compare(
    candidates: dict[str, Candidate],
    *,
    rounds: int = 7,
    seconds: float = 0.4,
    warmup: int = 3,
    minimum_calls: int = 3,
    seed: int = 0,
) -> Comparison:
    """Time the candidates side by side; the first is the reference of the verdicts.

    rounds: how often each is timed in turn, in random order. seconds: length of a turn, at least
    ``minimum_calls`` calls. warmup: calls before the first turn; each turn begins with one more
    that is not counted.

    Raises:
        CandidateFailed: a candidate raised; no process is left behind.
        ValueError: no candidate, or fewer than two rounds.
    """
    if not candidates or rounds < 2:
        raise InvalidArgument("Give at least one candidate and two rounds; an interval needs them.")
    if os.environ.get("TUTORIAL_PACE") == "quick":
        rounds, seconds = min(rounds, QUICK_ROUNDS), min(seconds, QUICK_SECONDS)
    workers: dict[str, _Worker] = {}
    try:
        _start(candidates, warmup, workers)
        times: dict[str, list[list[float]]] = {name: [] for name in candidates}
        order = list(candidates)
        shuffle = random.Random(seed)
        for _ in range(rounds):
            shuffle.shuffle(order)
            for name in order:
                times[name].append(workers[name].turn(seconds, minimum_calls))
        peaks = {name: worker.peak_mb() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.kill()
    return _summarise(candidates, times, peaks)


def judge(
    name: str, times: tuple[float, ...], reference: str, reference_times: tuple[float, ...]
) -> Verdict:
    """Verdict from round medians of two candidates, paired by round."""
    from scipy.stats import bootstrap

    logs = np.log(np.asarray(times) / np.asarray(reference_times))
    low = high = logs.mean()
    if np.ptp(logs) > 0:
        found = bootstrap(
            (logs,),
            np.mean,
            confidence_level=CONFIDENCE,
            n_resamples=2_000,
            method="percentile",
            rng=0,
        )
        low, high = found.confidence_interval
    return Verdict(name, reference, *(float(np.exp(x)) for x in (logs.mean(), low, high)))


def _summarise(
    candidates: dict[str, Candidate], times: dict[str, list[list[float]]], peaks: dict[str, float]
) -> Comparison:
    timings, medians = {}, {}
    for name, turns in times.items():
        items = candidates[name].items
        calls = np.concatenate(turns) * 1e3
        p50, p95, p99 = np.percentile(calls, (50, 95, 99))
        timings[name] = Timing(
            name=name,
            items=items,
            calls=len(calls),
            mean_ms=float(calls.mean()),
            p50_ms=float(p50),
            p95_ms=float(p95),
            p99_ms=float(p99),
            items_per_s=float(items * len(calls) / (calls.sum() / 1e3)),
            peak_mb=peaks[name],
        )
        # Per item, so that candidates of different batch sizes can be compared.
        medians[name] = tuple(float(np.median(turn)) * 1e3 / items for turn in turns)
    reference, *others = timings
    verdicts = {n: judge(n, medians[n], reference, medians[reference]) for n in others}
    return Comparison(timings, verdicts, medians, str(machine.describe()))


def _start(candidates: dict[str, Candidate], warmup: int, workers: dict[str, "_Worker"]) -> None:
    """Build all candidates, one a core at a time: loading is not what is timed, and takes long."""
    loading: dict[connection.Connection, _Worker] = {}
    waiting = list(candidates.items())
    while waiting or loading:
        while waiting and len(loading) < machine.cores():
            name, candidate = waiting.pop(0)
            workers[name] = worker = _Worker(name, candidate, warmup)
            loading[worker.pipe] = worker
        for pipe in connection.wait(list(loading)):
            loading.pop(pipe).stop_when_ready()


class _Worker:
    """The process of one candidate, stopped by the system whenever it is not its turn."""

    def __init__(self, name: str, candidate: Candidate, warmup: int):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(theirs, candidate, warmup, list(sys.path)), daemon=True
        )
        self.process.start()
        theirs.close()
        self.system = psutil.Process(self.process.pid)

    def stop_when_ready(self) -> None:
        self._receive()
        self.system.suspend()

    def turn(self, seconds: float, minimum_calls: int) -> list[float]:
        return self._ask(("time", seconds, minimum_calls))

    def peak_mb(self) -> float:
        return self._ask(("peak",))

    def kill(self) -> None:
        self.process.kill()  # a stopped process hears no politer signal
        self.process.join()
        self.pipe.close()

    def _ask(self, message: tuple):
        self.system.resume()
        self.pipe.send(message)
        answer = self._receive()
        self.system.suspend()
        return answer

    def _receive(self):
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise CandidateKilled(
                f"{self.name!r} ended with exit code {self.process.exitcode} and no error message "
                "(a negative number is the signal that killed it; -9 is often lack of memory)."
            ) from None
        if kind == "error":
            raise CandidateFailed(f"{self.name!r} failed:\n{value}")
        return value


def _work(pipe, candidate: Candidate, warmup: int, path: list[str]) -> None:
    sys.path[:] = path
    try:
        call = candidate.build()
        for _ in range(warmup):
            call()
        pipe.send(("ready", None))
        while True:
            match pipe.recv():
                case ("time", seconds, minimum_calls):
                    pipe.send(("times", _time(call, seconds, minimum_calls)))
                case ("peak",):
                    pipe.send(("peak", peak_mb()))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception:
        pipe.send(("error", traceback.format_exc()))


def _time(call: Callable[[], object], seconds: float, minimum_calls: int) -> list[float]:
    getattr(call, "brief", call)()  # caches are cold after the stop
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < minimum_calls:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def peak_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's maximum would include that of the process we came from
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return memory.peak_wset / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
