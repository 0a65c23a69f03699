"""Fair timer: each candidate in its own process, timed in turns, compared round by round.

Two models timed in one process disturb each other: idle threads of the first spin for a while and
take cores from the second. Here every candidate has its own process, and all except the one being
timed are suspended by the operating system. Candidates take turns, so a machine that slows down
over time slows all of them, and ratios are taken within a round.
"""

import multiprocessing
import os
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import psutil

from tutorial_utils.bench.intervals import Ratio, digits
from tutorial_utils.core import machine
from tutorial_utils.core.errors import InvalidArgument, TutorialError
from tutorial_utils.core.tables import Table

# TUTORIAL_PACE=quick checks that lessons run, and keeps no times: at most so many rounds and
# seconds, and one call is enough. Five rounds, because the interval of three is twice as wide.
QUICK_ROUNDS, QUICK_SECONDS = 5, 0.05


class CandidateFailed(TutorialError, RuntimeError):
    """A candidate could not be built or run; the message holds its traceback."""

    exit_code: ClassVar[int] = 3  # what is timed was built and checked before


class CandidateKilled(CandidateFailed):
    """The process of a candidate ended without an error message, as for lack of memory."""

    exit_code: ClassVar[int] = 2


class Candidate(Protocol):
    """What can be timed: a picklable object that loads its model in the process it runs in."""

    @property
    def items(self) -> int:
        """Items (texts) that one call handles."""

    def build(self) -> Callable[[], object]:
        """Load everything; return the function to be timed.

        The function may have an attribute ``brief``: a shorter call that warms up the caches at
        the start of each turn.
        """


@dataclass(frozen=True)
class Timing:
    """Latency of a call in milliseconds, items per second, peak memory of the process in MB.

    p50_ms: see ``typical_ms``. p95_ms: of all ``calls``. Percentiles are by nearest rank.
    """

    name: str
    items: int
    calls: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    items_per_s: float
    peak_mb: float


@dataclass(frozen=True)
class Comparison:
    """Timings of all candidates, and the time of each relative to the first.

    verdicts: candidate → its time an item relative to the first candidate's. rounds: candidate →
    median milliseconds an item, one value a round; p50 and intervals are made from these alone.
    """

    timings: dict[str, Timing]
    verdicts: dict[str, Ratio]
    rounds: dict[str, tuple[float, ...]]
    machine: str

    def verdict(self, name: str, reference: str) -> Ratio:
        """Time of any candidate of this run relative to any other's."""
        return Ratio.of_rounds(self.rounds[name], self.rounds[reference])

    def table(self) -> Table:
        """One row per candidate, the reference first."""
        headers = ["candidate", "calls", "p50 ms", "p95", "mean", "items/s", "peak MB"]
        headers += ["time ratio", "95 % interval", "verdict"]
        rows = []
        for name, t in self.timings.items():
            row = [name, f"{t.calls:,}", *(f"{ms:.2f}" for ms in (t.p50_ms, t.p95_ms, t.mean_ms))]
            row += [f"{t.items_per_s:,.0f}", f"{t.peak_mb:,.0f}", "1", "–", "reference"]
            if v := self.verdicts.get(name):
                row[-3:] = digits(v.ratio), v.interval, v.word
            rows.append(row)
        return Table.of(headers, rows)

    def __repr__(self) -> str:
        return f"{self.table()}\n{self.machine}"

    def _repr_html_(self) -> str:
        return f"{self.table()._repr_html_()}<p>{self.machine}</p>"


def compare(
    candidates: Mapping[str, Candidate],
    *,
    rounds: int = 7,
    seconds: float = 0.4,
    warmup: int = 3,
    minimum_calls: int = 3,
    seed: int = 0,
) -> Comparison:
    """Time the candidates side by side; the first one is the reference.

    rounds: turns of each candidate; their order is drawn anew in each round. seconds: length of a
    turn, which has at least ``minimum_calls`` calls. warmup: calls before the first turn; each
    turn begins with one more that is not counted. seed: of the order.

    Raises:
        CandidateFailed: a candidate raised an error or its process ended; no process is left.
        ValueError: no candidate, or fewer than two rounds.
    """
    if not candidates or rounds < 2:
        raise InvalidArgument("Give at least one candidate and two rounds; an interval needs them.")
    if os.environ.get("TUTORIAL_PACE") == "quick":
        rounds, seconds = min(rounds, QUICK_ROUNDS), min(seconds, QUICK_SECONDS)
        warmup = minimum_calls = 1
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
    finally:
        for worker in workers.values():
            worker.kill()
    return _summarise(candidates, times, {name: w.peak_mb for name, w in workers.items()})


def _summarise(
    candidates: Mapping[str, Candidate],
    times: Mapping[str, list[list[float]]],
    peaks: Mapping[str, float],
) -> Comparison:
    timings, medians = {}, {}
    for name, turns in times.items():
        items = candidates[name].items
        calls = np.concatenate(turns) * 1e3
        # Per item, so that candidates of different batch sizes can be compared.
        medians[name] = tuple(_percentile(turn, 50) * 1e3 / items for turn in turns)
        timings[name] = Timing(
            name=name,
            items=items,
            calls=len(calls),
            mean_ms=float(calls.mean()),
            p50_ms=typical_ms(medians[name], items),
            p95_ms=_percentile(calls, 95),  # a p99 would need a thousand calls
            items_per_s=float(items * len(calls) / (calls.sum() / 1e3)),
            peak_mb=peaks[name],
        )
    reference, *others = timings
    verdicts = {n: Ratio.of_rounds(medians[n], medians[reference]) for n in others}
    return Comparison(timings, verdicts, medians, str(machine.describe()))


def typical_ms(medians: Sequence[float], items: int = 1) -> float:
    """Milliseconds of a typical call: the geometric mean of the medians of the rounds.

    The ratio of two candidates is the geometric mean of their ratios in each round. So it is the
    ratio of these milliseconds too, and a table cannot contradict itself.

    medians: milliseconds an item, one a round. items: that a call handles.
    """
    return float(np.exp(np.log(medians).mean())) * items


def _percentile(times: Sequence[float] | np.ndarray, q: float) -> float:
    """By nearest rank, so it is a call that was made."""
    return float(np.percentile(times, q, method="inverted_cdf"))


def _start(candidates: Mapping[str, Candidate], warmup: int, workers: dict[str, "_Worker"]) -> None:
    """Start all candidates, as many at a time as there are cores: loading is slow and not timed."""

    def start(name: str) -> None:
        workers[name] = _Worker(name, candidates[name], warmup)
        workers[name].stop_when_ready()

    with ThreadPoolExecutor(machine.cores()) as pool:
        list(pool.map(start, candidates))  # raises what a start raised


class _Worker:
    """The process of one candidate, suspended whenever it is not its turn."""

    def __init__(self, name: str, candidate: Candidate, warmup: int):
        context = multiprocessing.get_context("spawn")
        self.name, self.peak_mb = name, 0.0
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, candidate, warmup), daemon=True)
        self.process.start()
        self.system = psutil.Process(self.process.pid)
        theirs.close()

    def stop_when_ready(self) -> None:
        with self._alive():
            self._receive()
            self.system.suspend()

    def turn(self, seconds: float, minimum_calls: int) -> list[float]:
        with self._alive():
            self.system.resume()
            self.pipe.send((seconds, minimum_calls))
            times, self.peak_mb = self._receive()
            self.system.suspend()
        return times

    def kill(self) -> None:
        self.process.kill()  # a suspended process does not react to SIGTERM
        self.process.join()
        self.pipe.close()

    def _receive(self) -> Any:
        kind, value = self.pipe.recv()
        if kind == "error":
            raise CandidateFailed(f"{self.name!r} failed:\n{value}")
        return value

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Turn every sign that the process has ended into one error that says how it ended."""
        try:
            yield
        except (EOFError, OSError, psutil.Error) as error:
            self.process.join(timeout=5)
            raise CandidateKilled(
                f"{self.name!r} ended with exit code {self.process.exitcode} and no error message "
                "(a negative code is the signal that killed it; -9 often means too little memory)."
            ) from error


def _work(pipe: "connection.Connection[Any, Any]", candidate: Candidate, warmup: int) -> None:
    """What the candidate's process runs: load, then answer requests until the pipe is closed."""
    try:
        call = candidate.build()
        for _ in range(warmup):
            call()
        pipe.send(("ready", None))
        while True:
            times = _time(call, *pipe.recv())
            pipe.send(("times", (times, peak_mb())))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception:
        pipe.send(("error", traceback.format_exc()))


def _time(call: Callable[[], object], seconds: float, minimum_calls: int) -> list[float]:
    getattr(call, "brief", call)()  # caches are cold after the suspension
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
    if status.exists():  # getrusage's maximum includes the parent's
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return float(memory.peak_wset / 1e6)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
