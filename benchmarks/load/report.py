"""The load runs' stored figures as Markdown and figures."""

import numpy as np

from benchmarks.common import Folder, Target, target_table, versions
from benchmarks.load.servers import OURS, PEERS, POPULAR, SINGLE
from benchmarks.stages import notes
from tutorial_utils import plots
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table

KINDS = ("short", "long", "mixed")
PLACES = ("all cores", "one core")
OFF, SORTED, DIRECT = "off", "tokens, sorted", "direct call"  # ways to answer a lone text
CROWD = "16"  # callers at which endpoints are compared


def draw(found: dict, folder: Folder) -> None:
    """Write ``load.md`` and the figures ``load_*.png``."""
    peers = found.get("endpoints", {}).get("peers", {})
    where = Machine(**found["machine"])
    parts = [HEAD.format(machine=where, versions=versions(found, peers))]
    sections = {
        "overload": _overload, "batching": _batching, "idle": _idle, "http": _http, "age": _age,
        "endpoints": _endpoints,
    }  # fmt: skip
    parts[0] += notes("load", found, tuple(sections))
    parts.append(f"## Targets\n\n{target_table(targets(found)).markdown()}\n")
    parts += [
        section(found[stage], folder) for stage, section in sections.items() if stage in found
    ]
    folder.write("load.md", "\n".join(parts))


def targets(found: dict) -> list[Target]:
    """Each target beside what the runs reached; a stage that is missing counts as not measured."""
    lines = []
    for shape, runs in found.get("overload", {}).get("shapes", {}).items():
        shares = np.array(runs["runs"]["3.0"]["shares"])
        reached = f"{np.median(shares):.2f} C [{shares.min():.2f}, {shares.max():.2f}]"
        met = bool(np.median(shares) >= 0.9)
        lines.append(Target(f"goodput at 3 × C, {shape}", "at least 0.9 C", reached, met))
        limit = 1e3 * found["overload"]["deadline_s"] + runs["batch_ms"]
        p99 = max(run["p99_ms"] for run in runs["runs"].values())
        lines.append(
            Target(
                f"p99 of accepted, {shape}, all rates",
                f"at most deadline + one batch: {limit:,.0f} ms",
                f"{p99:,.0f} ms",
                p99 <= limit,
            )
        )
    for kind in KINDS if "batching" in found else ():
        waste = found["batching"][kind]["tokens, sorted"]["padding_waste"]
        what = f"padding waste, {kind} texts"
        lines.append(Target(what, "at most 5 %", f"{waste:.1%}", waste <= 0.05))
    for where in PLACES if "idle" in found else ():
        ratios = _ratios(found["idle"][where], SORTED, OFF)
        what = f"idle: batching / batching off, p50, {where}"
        met = bool(np.median(ratios) <= 1.1)
        lines.append(Target(what, "at most 1.1", _spread(ratios), met))
    if "http" in found:
        cost = found["http"]["caller_ms"] - found["http"]["inference_ms"]
        what = "HTTP p50 minus inference p50"
        lines.append(Target(what, "at most 1.5 ms", f"{cost:.2f} ms", cost <= 1.5))
    if "age" in found:
        bound = found["age"]["max_age_s"]
        wait, limit = found["age"]["waits_ms"][str(bound)]["long"]["max"], 1e3 * bound
        what = "512 tokens under a flood, longest wait"
        lines.append(Target(what, f"at most {limit:.0f} ms", f"{wait:.0f} ms", wait <= limit))
    return lines + _beside(found.get("endpoints"))


def _beside(stage: dict | None) -> list[Target]:
    """Ours against the others at ``CROWD`` callers: medians of rounds that took turns."""
    if stage is None:
        return []
    ours, lines = np.array(stage["speeds"][OURS][CROWD]), []
    for name, least in ((POPULAR, 2.0), *((peer, 1.0) for peer in PEERS)):
        what = f"answers/s at {CROWD} callers / {name}"
        if name not in stage["speeds"]:
            lines.append(Target(what, f"at least {least:.0f} ×", "–", None))
            continue
        ratios = ours / np.array(stage["speeds"][name][CROWD])
        reached = f"{np.median(ratios):.2f} × [{ratios.min():.2f}, {ratios.max():.2f}]"
        met = bool(np.median(ratios) >= least)
        lines.append(Target(what, f"at least {least:.0f} ×", reached, met))
    return lines


def _overload(stage: dict, folder: Folder) -> str:
    parts = ["## Beyond capacity"]
    for number, (shape, found) in enumerate(stage["shapes"].items()):
        capacities = found["capacities"]
        of_c = {float(f): float(np.median(run["shares"])) for f, run in found["runs"].items()}
        rows = [
            (
                f"{float(factor):g} × C", f"{run['rate']:.0f}", f"{run['goodput']:.0f}",
                f"{of_c[float(factor)]:.2f}", f"{min(run['shares']):.2f} to "
                f"{max(run['shares']):.2f}", f"{run['p50_ms']:.0f}", f"{run['p99_ms']:.0f}",
                ", ".join(f"{n} × {status}" for status, n in run["statuses"].items()),
            )
            for factor, run in found["runs"].items()
        ]  # fmt: skip
        headers = (
            "due", "a second", "answered a second", "of C", "rounds", "p50 ms", "p99 ms", "statuses"
        )  # fmt: skip
        least = min(share for factor, share in of_c.items() if factor >= 1)
        title = f"{shape}: from capacity on, at least {least:.2f} of it is answered"
        below = [factor for factor in of_c if factor <= 1]
        figure = plots.lines(
            {"answered": (list(of_c), list(of_c.values())), "due": (below, below)},
            title=title,
            x="requests due, in capacities",
            y="answers with status 200, in capacities",
        )
        name = f"load_overload_{number + 1}"
        folder.save_figure(name, figure)
        says = (
            f"{shape}: C = {np.median(capacities):.0f} requests a second [{min(capacities):.0f}, "
            f"{max(capacities):.0f}], by {found['callers']} callers in a closed loop, before and "
            f"after each rate. Deadline {stage['deadline_s']:g} s; latency counts from the moment "
            "at which a request was due, and only of those answered with 200."
        )
        image = f"![Answers against requests, both in capacities. {title}.]({name}.png)"
        parts += [says, Table.of(headers, rows).markdown(), image]
    return "\n\n".join(parts) + "\n"


def _batching(stage: dict, folder: Folder) -> str:
    kinds = {kind: modes for kind, modes in stage.items() if kind in KINDS}
    rows, bars = [], {}
    for kind, modes in kinds.items():
        for mode, m in modes.items():
            rows.append(
                (kind, mode, f"{m['texts_per_s']:.0f}", f"{m['tokens_per_s']:,.0f}",
                 f"{m['padding_waste']:.1%}", f"{m['tokens_a_batch']:.0f}")
            )  # fmt: skip
            bars[f"{kind}, {mode}"] = m["texts_per_s"] / modes["off"]["texts_per_s"]
    best = [name for name in bars if name.endswith("sorted")]
    sorted_, timer = bars["mixed, tokens, sorted"], bars["mixed, timer"]
    title = f"Mixed texts: {sorted_:.2f} × by tokens and length, {timer:.2f} × by a timer"
    figure = plots.bars(
        bars, title=title, unit="texts a second, without batching = 1", highlight=best, digits=2
    )
    folder.save_figure("load_batching", figure)
    headers = ("texts", "batching", "texts/s", "tokens/s", "padding", "tokens a batch")
    says = "The engine in one process on one core, 64 callers of one text each in a closed loop."
    image = f"![Bars of texts a second by kind of texts and way of batching. {title}.]"
    return "\n\n".join(
        ["## Three ways to batch", says, Table.of(headers, rows).markdown(),
         f"{image}(load_batching.png)\n"]
    )  # fmt: skip


def _idle(stage: dict, folder: Folder) -> str:
    rows = []
    for where in PLACES:
        rounds = stage[where]
        for way in rounds[0]:
            cells = ([r[way] for r in rounds], *(_ratios(rounds, way, of) for of in (OFF, DIRECT)))
            rows.append((where, way, *map(_spread, cells)))
    headers = ("on", "way", "ms, p50", "÷ batching off", "÷ direct call")
    says = (
        "One text at a time, nobody else: the session called directly, and through the engine with "
        "each way to batch. [Least, most] of the processes. Nothing is waited for to fill a batch, "
        "so batching itself costs a lone text next to nothing; a timer costs its time. The engine "
        "around it costs two threads that wake, a deadline and a breaker."
    )
    return f"## When idle\n\n{says}\n\n{Table.of(headers, rows).markdown()}\n"


def _ratios(rounds: list[dict], way: str, of: str) -> list[float]:
    return [times[way] / times[of] for times in rounds]


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _http(stage: dict, folder: Folder) -> str:
    names = ("queue", "tokenize", "inference", "total", "caller")
    row = [f"{stage[f'{name}_ms']:.2f}" for name in names]
    headers = ("queue", "tokenizer", "model", "in the service", "for the caller")
    return f"## One caller over HTTP, p50 ms\n\n{Table.of(headers, [row]).markdown()}\n"


def _age(stage: dict, folder: Folder) -> str:
    rows = []
    for bound, waits in stage["waits_ms"].items():
        for kind, w in waits.items():
            limit = f"{float(bound):g} s"
            rows.append((limit, kind, w["requests"], f"{w['p50']:.0f}", f"{w['max']:.0f}"))
    headers = ("max_age", "texts", "requests", "p50 wait, ms", "longest wait, ms")
    says = (
        "One caller sends 512 tokens at a time, and 16 others short texts without a pause. With "
        "a bound that is never reached, it waits until no batch has more texts than its own."
    )
    return f"## A long text under a flood\n\n{says}\n\n{Table.of(headers, rows).markdown()}\n"


def _endpoints(stage: dict, folder: Folder) -> str:
    callers = list(next(iter(stage["speeds"].values())))
    rows = []
    for name, speeds in stage["speeds"].items():
        cells = [
            f"{np.median(speeds[n]):.0f} ({np.median(stage['p99_ms'][name][n]):.0f})"
            for n in callers
        ]
        rows.append((name, *cells, f"{stage['agreement'][name]:.0%}"))
    headers = ("server", *(f"{n} callers" for n in callers), "same labels")
    others = {n: np.median(s[CROWD]) for n, s in stage["speeds"].items() if n != OURS}
    second = max(others, key=others.get)
    gain = np.median(stage["speeds"][OURS][CROWD]) / others[second]
    title = f"At {CROWD} callers ours answers {gain:.2f} × as many requests as {second}"
    figure = plots.lines(
        {
            name: ([int(n) for n in callers], [float(np.median(speeds[n])) for n in callers])
            for name, speeds in stage["speeds"].items()
        },
        title=title,
        x="callers, each with one text at a time",
        y="answers a second",
        log_x=True,
    )
    folder.save_figure("load_endpoints", figure)
    says = _faster(stage["speeds"])
    says += (
        "Answers a second (p99 in ms) on the same model file, each server on one core, the "
        "callers on another; the servers took turns, and were stopped in between. The popular "
        "endpoint pads to 128 tokens and runs the model on its event loop. *One request at a time* "
        "has no metrics, log, limits or deadline. With one caller these cost our service "
        f"{_overhead(stage['speeds']):.1f} ms per text, which batching has to make up for first."
    )
    missing = "".join(f"\n- {n}: {why}" for n, why in stage["failed"].items())
    failed = f"\n\nCould not run here:\n{missing}" if missing else ""
    image = f"![Answers a second against callers, a line a server. {title}.](load_endpoints.png)"
    table_ = Table.of(headers, rows).markdown()
    return f"## Beside other servers\n\n{says}\n\n{table_}\n\n{image}{failed}\n"


def _faster(speeds: dict) -> str:
    """Which servers answer more requests than ours, at how many callers: a sentence."""
    lines = []
    for name in speeds:
        ratios = {n: np.median(s) / np.median(speeds[OURS][n]) for n, s in speeds[name].items()}
        if more := [f"{n} callers: {ratio:.2f} ×" for n, ratio in ratios.items() if ratio > 1]:
            lines.append(f"{name} ({', '.join(more)})")
    return f"More answers a second than ours: {'; '.join(lines) or 'none'}. "


def _overhead(speeds: dict) -> float:
    """Milliseconds per answer of ours beyond those of the bare endpoint, with one caller."""
    return 1e3 / np.median(speeds[OURS]["1"]) - 1e3 / np.median(speeds[SINGLE]["1"])


HEAD = """# The service under load

Measured by `make load` on: {machine}, with {versions}.

The model is the tuned classifier, the texts are real sentences. The service has one core and one
thread for the model; the load generator has another core, and connects over loopback.
"""
