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
OFF, SORTED, DIRECT = "off", "tokens, sorted", "direct call"  # ways to answer a single text
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
    """Each target with the measured value; missing stages have none."""
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
        what = "512 tokens among short texts, longest wait"
        lines.append(Target(what, f"at most {limit:.0f} ms", f"{wait:.0f} ms", wait <= limit))
    return lines + _server_targets(found.get("endpoints"))


def _server_targets(stage: dict | None) -> list[Target]:
    """Ours compared with other servers at ``CROWD`` callers: medians over the rounds."""
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
    parts = ["## Overload"]
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
            "offered", "requests/s", "answers/s", "of C", "range", "p50 ms", "p99 ms", "statuses"
        )  # fmt: skip
        least = min(share for factor, share in of_c.items() if factor >= 1)
        title = f"{shape}: at and above capacity, at least {least:.0%} of it is answered"
        below = [factor for factor in of_c if factor <= 1]
        figure = plots.lines(
            {"answered": (list(of_c), list(of_c.values())), "offered": (below, below)},
            title=title,
            x="offered requests / capacity",
            y="answers with status 200 / capacity",
        )
        name = f"load_overload_{number + 1}"
        folder.save_figure(name, figure)
        says = (
            f"{shape}: the capacity C is {np.median(capacities):.0f} requests per second "
            f"[{min(capacities):.0f}, {max(capacities):.0f}]. It was measured before and after "
            f"each rate, by {found['callers']} callers in a closed loop. The deadline is "
            f"{stage['deadline_s']:g} s. Latency starts when a request was due, and counts only "
            "answers with status 200."
        )
        image = (
            f"![Answers over offered requests, both in units of the capacity. {title}.]({name}.png)"
        )
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
        bars, title=title, unit="texts per second, without batching = 1", highlight=best, digits=2
    )
    folder.save_figure("load_batching", figure)
    headers = ("texts", "batching", "texts/s", "tokens/s", "padding", "tokens a batch")
    says = "The engine has one process on one core. 64 callers send one text each in a closed loop."
    image = f"![Bars of texts per second by kind of text and way to batch. {title}.]"
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
        "One text at a time and no other load: a direct call of the session, and the engine with "
        "each way to batch. In brackets are the least and the most of all processes. Our engine "
        "does not wait to fill a batch, so batching costs a single text next to nothing. A timer "
        "costs its full time. The engine adds two thread wake-ups, a deadline and a circuit "
        "breaker."
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
        "One caller sends texts of 512 tokens, and 16 others send short texts without a pause. If "
        "`max_age` is never reached, a long text waits until no batch has more texts than its own."
    )
    return (
        f"## A long text among many short ones\n\n{says}\n\n{Table.of(headers, rows).markdown()}\n"
    )


def _endpoints(stage: dict, folder: Folder) -> str:
    callers = list(next(iter(stage["speeds"].values())))
    rows = []
    for name, speeds in stage["speeds"].items():
        cells = [
            f"{np.median(speeds[n]):.0f} ({np.median(stage['p99_ms'][name][n]):.0f})"
            for n in callers
        ]
        rows.append((name, *cells, f"{stage['agreement'][name]:.0%}"))
    headers = ("server", *map(_callers, callers), "same labels")
    others = {n: np.median(s[CROWD]) for n, s in stage["speeds"].items() if n != OURS}
    second = max(others, key=others.get)
    gain = np.median(stage["speeds"][OURS][CROWD]) / others[second]
    title = f'{CROWD} callers: ours gives {gain:.2f} × the answers of "{second}"'
    figure = plots.lines(
        {
            name: ([int(n) for n in callers], [float(np.median(speeds[n])) for n in callers])
            for name, speeds in stage["speeds"].items()
        },
        title=title,
        x="callers, each with one text at a time",
        y="answers per second",
        log_x=True,
    )
    folder.save_figure("load_endpoints", figure)
    says = _faster(stage["speeds"])
    says += (
        "The table shows answers per second (p99 in ms) with the same model file. Each server has "
        "one core, and the callers have another. The servers took turns and were suspended in "
        "between. The popular endpoint pads to 128 tokens and runs the model on its event loop. "
        "*One request at a time* has no metrics, log, limits or deadline. With one caller, these "
        f"cost our service {_overhead(stage['speeds']):.1f} ms per text, and batching must first "
        "make up for that."
    )
    missing = "".join(f"\n- {n}: {why}" for n, why in stage["failed"].items())
    failed = f"\n\nCould not run here:\n{missing}" if missing else ""
    image = f"![Answers per second by callers, one line per server. {title}.](load_endpoints.png)"
    table_ = Table.of(headers, rows).markdown()
    return f"## Compared with other servers\n\n{says}\n\n{table_}\n\n{image}{failed}\n"


def _faster(speeds: dict) -> str:
    """A sentence that names the servers that answer more requests than ours."""
    lines = []
    for name in speeds:
        ratios = {n: np.median(s) / np.median(speeds[OURS][n]) for n, s in speeds[name].items()}
        if more := [f"{_callers(n)}: {ratio:.2f} ×" for n, ratio in ratios.items() if ratio > 1]:
            lines.append(f"{name} ({', '.join(more)})")
    return f"More answers per second than ours: {'; '.join(lines) or 'none'}. "


def _callers(number: str) -> str:
    return f"{number} caller" if number == "1" else f"{number} callers"


def _overhead(speeds: dict) -> float:
    """Milliseconds per answer that ours takes longer than the bare endpoint, with one caller."""
    return 1e3 / np.median(speeds[OURS]["1"]) - 1e3 / np.median(speeds[SINGLE]["1"])


HEAD = """# The service under load

Measured by `make load` on: {machine}, with {versions}.

The model is the tuned classifier, and the texts are real sentences. The service has one core, with
one thread for the model. The load generator has another core and connects over loopback.
"""
