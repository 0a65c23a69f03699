"""The stages of the load runs."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from benchmarks import stages
from benchmarks.isolated import in_a_process
from benchmarks.load.closed_loop import header_of, keep_busy
from benchmarks.load.idle import lone_text_ms
from benchmarks.load.policies import KINDS, POLICIES, batch
from benchmarks.load.report import draw
from benchmarks.load.servers import (
    LITSERVE,
    MOSEC,
    OURS,
    PEERS,
    POPULAR,
    SINGLE,
    cores,
    published,
    started,
    versions,
)
from benchmarks.load.texts import bodies, long_texts, short_texts
from benchmarks.servers import NotStarted, on_core
from tutorial_utils.bench import load_generator

FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
CALLERS = (1, 4, 16, 64)
SHAPES = {"1 text a request": (1, 64), "8 texts a request": (8, 16)}  # texts, callers for C
DEADLINE, MAX_AGE = 1.0, 0.1  # seconds
CHECKED = 100  # texts for which the labels of all servers are compared


@dataclass(frozen=True)
class Effort:
    """seconds: of one rate. batching: of one policy. level: of one number of callers.

    calls: requests that are sent one after another.
    """

    seconds: float = 5.0
    batching: float = 3.0
    level: float = 2.0
    rounds: int = 3
    calls: int = 300


QUICK = Effort(1.0, 0.5, 0.5, 1, 30)


def overload(effort: Effort) -> dict:
    """Goodput and latency of accepted requests, below and above the capacity.

    On a shared machine the capacity changes within seconds. So it is measured before and after
    each rate. The answers of a rate count as a share of the mean of the two.
    """
    generator, core = cores()
    found = {"deadline_s": DEADLINE, "shapes": {}}
    with published() as folder, on_core(generator):
        for shape, (texts, callers) in SHAPES.items():
            with started(OURS, folder, core, deadline=DEADLINE) as server:
                found["shapes"][shape] = beyond(server.url, bodies(texts), callers, effort)
            print(shape, *found["shapes"][shape]["runs"].items(), sep="\n  ", flush=True)
    return found


def beyond(url: str, asked: list[dict], callers: int, effort: Effort) -> dict:
    """Results at each rate of ``FACTORS``, over several rounds; their latencies are pooled."""

    def capacity() -> float:
        return keep_busy(url, asked, callers, effort.level).goodput

    runs: dict[float, list[load_generator.Load]] = {factor: [] for factor in FACTORS}
    shares: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    capacity()  # warm
    found = [capacity()]
    for number in range(effort.rounds):
        for factor in FACTORS:
            run = load_generator.offer(url, asked, factor * found[-1], effort.seconds, seed=number)
            found.append(capacity())
            runs[factor].append(run)
            shares[factor].append(run.goodput / float(np.mean(found[-2:])))
    return {
        "capacities": found,
        "callers": callers,
        "batch_ms": float(np.percentile(header(url, asked, "x-inference-time"), 99)),
        "runs": {str(f): together(runs[f]) | {"shares": shares[f]} for f in FACTORS},
    }


def batching(effort: Effort) -> dict:
    """Padding waste and texts per second of three ways to batch, on three kinds of texts."""
    _, core = cores()
    found: dict = {kind: {} for kind in KINDS}
    with published() as folder:
        for kind in KINDS:
            for mode in POLICIES:
                found[kind][mode] = in_a_process(batch, folder, core, kind, mode, effort.batching)
                print(kind, mode, found[kind][mode], flush=True)
    return found


def idle(effort: Effort) -> dict:
    """What a single request pays for batching, and for the engine around the session.

    Each round has its own process, because processes differ in which cores their threads use.
    """
    places = {"all cores": cores(), "one core": (cores()[1],)}
    found: dict = {where: [] for where in places}
    with published() as folder:
        for _ in range(effort.rounds + 2):
            for where, usable in places.items():
                found[where].append(in_a_process(lone_text_ms, folder, usable, effort.calls))
    return found


def http(effort: Effort) -> dict:
    """From a caller's request to its answer, compared with the time in the model."""
    generator, core = cores()
    with published() as folder, started(OURS, folder, core) as server, on_core(generator):
        header(server.url, bodies(1), "x-inference-time", effort.calls // 3)
        replies, seconds = one_by_one(server.url, bodies(1), effort.calls)
    stages = ("queue", "tokenize", "inference", "total")
    inside = {s: [float(header_of(r, f"x-{s}-time")) for r in replies] for s in stages}
    p50 = {f"{stage}_ms": float(np.median(values)) for stage, values in inside.items()}
    return p50 | {"caller_ms": 1e3 * float(np.median(seconds))}


def age(effort: Effort) -> dict:
    """How long texts of 512 tokens wait while short ones keep coming."""
    generator, core = cores()
    found = {"max_age_s": MAX_AGE, "waits_ms": {}}
    with published() as folder, on_core(generator):
        for bound in (MAX_AGE, 100.0):
            with started(OURS, folder, core, max_age=bound) as server:
                work = flood(server.url, effort.seconds)
                found["waits_ms"][str(bound)] = load_generator.run_in_thread(work)
    return found


async def flood(url: str, seconds: float) -> dict:
    """Milliseconds in the queue, of long texts and of the short ones around them."""
    connections = load_generator.Connections(url)
    short = [connections.request({"texts": [text]}) for text in short_texts()]
    long = [connections.request({"texts": [text]}) for text in long_texts(512)]
    until = time.perf_counter() + seconds  # after preparing the requests, which takes a while
    waits: dict[str, list[float]] = {"long": [], "short": []}

    async def call(name: str, requests: list[bytes], pause: float) -> None:
        i = 0
        while time.perf_counter() < until:
            reply = await connections.ask(requests[i % len(requests)])
            waits[name].append(float(header_of(reply, "x-queue-time") or "nan"))
            await asyncio.sleep(pause)
            i += 1

    await asyncio.gather(
        call("long", long, 0.1), *(call("short", short[i:] + short[:i], 0) for i in range(16))
    )
    await connections.close()
    return {
        name: {"p50": float(np.median(w)), "max": float(np.max(w)), "requests": len(w)}
        for name, w in waits.items()
    }


def endpoints(effort: Effort) -> dict:
    """Answers per second of each server with the same file, at several numbers of callers."""
    generator, core = cores()
    asked = bodies(1)
    found: dict = {"speeds": {}, "p99_ms": {}, "agreement": {}, "failed": {}, "peers": versions()}
    with published() as folder, ExitStack() as stack:
        running = {}
        for name in (POPULAR, SINGLE, OURS, LITSERVE, MOSEC):
            if name in PEERS and name.lower() not in found["peers"]:
                found["failed"][name] = "not installed: `make load` builds its environment"
                continue
            try:
                running[name] = stack.enter_context(started(name, folder, core))
            except NotStarted as failure:
                found["failed"][name] = " ".join(str(failure).split())
        stack.enter_context(on_core(generator))
        labels = {name: labels_of(server.url, asked[:CHECKED]) for name, server in running.items()}
        for name, server in running.items():
            same = np.mean([a == b for a, b in zip(labels[name], labels[OURS], strict=True)])
            found["agreement"][name] = float(same)
            found["speeds"][name] = {str(n): [] for n in CALLERS}
            found["p99_ms"][name] = {str(n): [] for n in CALLERS}
            server.pause()
        for _ in range(effort.rounds):
            for name, server in running.items():
                server.resume()
                keep_busy(server.url, asked, 4, effort.level / 4)
                for callers in CALLERS:
                    run = keep_busy(server.url, asked, callers, effort.level)
                    found["speeds"][name][str(callers)].append(run.goodput)
                    found["p99_ms"][name][str(callers)].append(run.percentile(99))
                server.pause()
    print(*found["speeds"].items(), sep="\n", flush=True)
    return found


def one_by_one(
    url: str, asked: list[dict], count: int
) -> tuple[list[load_generator.Reply], list[float]]:
    """Send ``count`` requests one after another; return the replies and their seconds."""

    async def ask() -> tuple[list[load_generator.Reply], list[float]]:
        connections, replies, seconds = load_generator.Connections(url), [], []
        for i in range(count):
            request = connections.request(asked[i % len(asked)])
            start = time.perf_counter()
            replies.append(await connections.ask(request))
            seconds.append(time.perf_counter() - start)
        await connections.close()
        return replies, seconds

    return load_generator.run_in_thread(ask())


def header(url: str, asked: list[dict], name: str, count: int = 50) -> list[float]:
    return [float(header_of(reply, name)) for reply in one_by_one(url, asked, count)[0]]


def labels_of(url: str, asked: list[dict]) -> list[str]:
    replies = one_by_one(url, asked, len(asked))[0]
    return [p["label"] for reply in replies for p in json.loads(reply.body)["predictions"]]


def together(runs: list[load_generator.Load]) -> dict:
    """Rates and goodput as medians of the rounds; latencies and statuses of all of them."""
    latencies = np.concatenate([run.latencies_ms for run in runs])
    p50, p99 = np.percentile(latencies, (50, 99)).tolist() if len(latencies) else (None, None)
    statuses = sum((Counter(run.statuses) for run in runs), Counter())
    return {
        "rate": float(np.median([run.rate for run in runs])),
        "goodput": float(np.median([run.goodput for run in runs])),
        "p50_ms": p50,
        "p99_ms": p99,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


STAGES: dict[str, Callable[[Effort], dict]] = {
    "overload": overload,
    "batching": batching,
    "idle": idle,
    "http": http,
    "age": age,
    "endpoints": endpoints,
}


def main(words: list[str]) -> None:
    """Run the named stages, or all of them."""
    every = {name: partial(_measured, stage) for name, stage in STAGES.items()}
    stages.run("load", words, every, draw)


def _measured(stage: Callable[[Effort], dict], quick: bool) -> Iterator[dict]:
    effort = QUICK if quick else Effort()
    yield stage(effort) | {"effort": asdict(effort)}
