"""The comparison with other tools as Markdown, figures and the README's table."""

from collections.abc import Sequence

from benchmarks.common import Folder, p50, target_table, versions
from benchmarks.peers.limits import limits
from benchmarks.peers.targets import (
    PADDED,
    PYTORCH,
    best_of_ours,
    best_peer,
    engine_of,
    faster_line,
    faster_peers,
    is_ours,
    targets,
    verdict,
)
from benchmarks.stages import notes
from tutorial_utils import plots
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table

STAGES = ("shapes", "roof", "texts", "growth")
TITLES = {
    "own": "Each tool with its own batching",
    "ours": "All tools with our batching (sorted by length, bounded in tokens)",
    "all": "The best of both tables on all sentences",
}


def draw(found: dict, folder: Folder) -> None:
    """Write ``peers.md`` and the figures ``peers_*.png``."""
    head = HEAD.format(machine=Machine(**found["machine"]), versions=versions(found, _peers(found)))
    sections = [head + notes("peers", found, STAGES), faster(found)]
    goals = TARGETS.format(processor=limits(found).processor)
    sections.append(f"{goals}\n{target_table(targets(found)).markdown()}\n")
    sections.append(f"## Overview\n\n{summary(found).markdown()}\n")
    for shape, comparison in found.get("shapes", {}).get("comparisons", {}).items():
        title = f"BERT-base shape (seeded weights), {shape}"
        sections.append(_section(title, comparison, shape, folder))
    for key, comparison in found.get("texts", {}).get("comparisons", {}).items():
        sections.append(_section(TITLES[key], comparison, key, folder))
    if "growth" in found:
        sections.append(_growth(found["growth"]))
    sections.append(_kernels(found.get("shapes", {}).get("checks", {})))
    sections.append(_failures(found))
    folder.write("peers.md", "\n".join(filter(None, sections)))


def summary(found: dict) -> Table:
    """One row per candidate: milliseconds by shape, texts per second, size and quality."""
    shapes = found.get("shapes", {})
    comparisons = shapes.get("comparisons", {})
    texts = found.get("texts", {})
    own = texts.get("comparisons", {}).get("own", {"timings": {}})["timings"]
    same = texts.get("comparisons", {}).get("ours", {"timings": {}})["timings"]
    names = dict.fromkeys([PADDED, *shapes.get("checks", {}), *map(_short, own)])
    rows = []
    for name in names:
        row = [name]
        for comparison in comparisons.values():
            times = [p50(comparison, n) for n in comparison["timings"] if _short(n) == name]
            row += [f"{min(times):.1f}" if times else "–"]
        for timings in (own, same):
            speeds = [t["items_per_s"] for n, t in timings.items() if _short(n) == name]
            row += [f"{max(speeds):,.0f}" if speeds else "–"]
        row += [_cell(shapes.get("checks", {}).get(name), "size_mb", ".0f")]
        check = texts.get("checks", {}).get(name) or next(
            (c for n, c in texts.get("checks", {}).items() if _short(n) == name), None
        )
        row += [_cell(check, "score", ".4f"), _cell(check, "agreement", ".2%")]
        rows.append(row)
    headers = ["candidate", *(f"{shape}, ms" for shape in comparisons)]
    headers += ["texts/s, own batching", "texts/s, ours", "MB", "F1", "agreement"]
    return Table.of(headers, rows)


def faster(found: dict) -> str:
    """A paragraph that says where another tool is faster than ours."""
    shapes, texts = (found.get(stage, {}).get("comparisons", {}) for stage in ("shapes", "texts"))
    titles = {f"BERT-base {shape}": comparison for shape, comparison in shapes.items()}
    titles |= {TITLES[key][:1].lower() + TITLES[key][1:]: texts[key] for key in texts}
    lines = []
    for title, comparison in titles.items():
        if peers := faster_peers(comparison, best_of_ours(comparison)):
            lines.append(faster_line(title, peers))
    if not lines:
        return "No other tool took less time than ours in any comparison.\n"
    says = "Where another tool took less time than the best of ours (= 1; with 95 % intervals):\n"
    return says + "\n".join(lines) + "\n"


def for_readme(found: dict, others: Sequence[dict] = ()) -> str:
    """The README's table, after what is faster than ours on each machine that was measured.

    others: runs of other machines, which are shown beside this one in a line each.
    """
    where = f"Measured on: {Machine(**found['machine'])}."
    parts = [f"{faster(found)}\n{summary(found).markdown()}\n\n{where}"]
    if others:
        runs = [*others, found]
        told = [f"**{_machine(run)}.** {faster(run).strip()}" for run in runs]
        says = "Time of ours relative to the best other tool. Below 1, ours is faster."
        parts = [*told, f"{says}\n\n{by_machine(runs).markdown()}"]
        parts.append(f"{summary(found).markdown()}\n\n{where}")
    return "\n\n".join(parts)


def by_machine(runs: Sequence[dict]) -> Table:
    """A row for each run: time of the best of ours relative to the best peer, with its interval."""
    columns = {shape: ("shapes", shape) for shape in ("1 × 24", "1 × 128", "8 × 128")}
    columns["texts, equal batching"] = ("texts", "ours")

    def cell(run: dict, stage: str, key: str) -> str:
        comparison = run.get(stage, {}).get("comparisons", {}).get(key)
        ours = best_of_ours(comparison) if comparison else None
        if comparison is None or ours is None:
            return "–"
        peer = best_peer(comparison)
        return f"{verdict(comparison, ours, peer).cell} ({_short(peer)})"

    rows = [(_machine(run), *(cell(run, *key) for key in columns.values())) for run in runs]
    return Table.of(("machine", *columns), rows)


def _machine(run: dict) -> str:
    """The machine of a run in a few words, its processor's features among them."""
    machine = Machine(**run["machine"])
    return f"{machine.processor} ({', '.join(machine.features)})"


def _short(name: str) -> str:
    return name if name == PADDED else engine_of(name)


def _cell(values: dict | None, key: str, style: str) -> str:
    return format(values[key], style) if values and values.get(key) is not None else "–"


def _section(title: str, comparison: dict, key: str, folder: Folder) -> str:
    """A comparison as table and figure: times relative to ours. The figure names the best peer."""
    name = f"peers_{key.replace(' × ', 'x')}"
    reference = best_of_ours(comparison) or best_peer(comparison)
    rows, shown, intervals = [], {}, {}
    for candidate, timing in comparison["timings"].items():
        v = verdict(comparison, candidate, reference)
        exact = candidate == reference
        rows.append((
            candidate, f"{p50(comparison, candidate):,.2f}", f"{timing['p95_ms']:,.2f}",
            f"{timing['items_per_s']:,.1f}", f"{timing['peak_mb']:,.0f}", f"{v.ratio:.2f}",
            "–" if exact else f"[{v.low:.2f}, {v.high:.2f}]", "reference" if exact else v.word,
        ))  # fmt: skip
        shown[candidate] = v.ratio
        intervals[candidate] = (v.low, v.high)
    headers = ("candidate", "p50 ms a call", "p95", "texts/s", "peak MB")
    headers += (f"time, {reference} = 1", "95 % interval", "verdict")
    finding = _finding(comparison)
    figure = plots.bars(
        dict(sorted(shown.items(), key=lambda item: item[1])),
        title=f"{_where(key)}: {finding}",
        unit=f"time per text, {reference} = 1; whisker: 95 % interval",
        intervals=intervals,
        highlight=[n for n in shown if is_ours(n)],
        digits=2,
    )
    folder.save_figure(name, figure)
    alt = f"Bars of the time per text of each candidate. {_where(key)}: {finding}."
    table = Table.of(headers, rows).markdown()
    return f"## {title}\n\n{table}\n\n![{alt}]({name}.png)\n"


def _finding(comparison: dict) -> str:
    ours, peer = best_of_ours(comparison), best_peer(comparison)
    if ours is None:
        return f"ours did not run, the best is {peer}"
    v = verdict(comparison, ours, peer)
    if v.word == "no measurable difference":
        return f"no measurable difference from the best peer, {_short(peer)}"
    return f"{v.ratio:.2f} × the time of the best peer, {_short(peer)}"


def _where(key: str) -> str:
    sentences = {"own": "Own batching", "ours": "Our batching", "all": "All sentences"}
    return sentences.get(key, key)


def _growth(stage: dict) -> str:
    rows = [
        (f"{run['texts']:,}", f"{run['texts_per_s']:,.0f}", f"{run['peak_mb']:,.0f}")
        for run in stage["runs"]
    ]
    table = Table.of(("sentences", "texts/s", "peak MB"), rows).markdown()
    return f"## Growth\n\nOne row per run, in order. Each run had its own process.\n\n{table}\n"


def _kernels(checks: dict) -> str:
    """How OpenVINO computes: a processor without a kernel for a precision gets another one's."""
    rows = [
        (name, ", ".join(f"{count} × {kernel}" for kernel, count in check["kernels"].items()))
        for name, check in checks.items()
        if check.get("kernels")
    ]
    table = Table.of(("candidate", "matrix products at 1 × 24"), rows).markdown()
    return f"{KERNELS}\n{table}\n" if rows else ""


def _failures(found: dict) -> str:
    lines = {
        f"{name}: {reason}"
        for stage in ("shapes", "texts")
        for name, reason in found.get(stage, {}).get("failed", {}).items()
    }
    return "## Could not run here\n\n" + ("\n".join(f"- {x}" for x in sorted(lines)) or "–") + "\n"


def _peers(found: dict) -> dict[str, str]:
    """Versions of the peers, stored with each stage, or once in older files."""
    origins = found.get("stages", {}).values()
    return next((origin["peers"] for origin in origins), found.get("peers", {}))


TARGETS = """## Targets

The limits are those for a processor {processor}. Where several INT8 forms of ours ran, the fastest
of a comparison counts. F1 and agreement are checked for each form that is the fastest somewhere.
"""
KERNELS = """## How OpenVINO multiplies matrices here

The end of a kernel's name says in which precision it computes. It can differ from the file's.
"""
HEAD = f"""# Compared with other tools

Measured by `make peers` on: {{machine}}, with {{versions}}.

Each candidate runs in its own process, and the candidates take turns. Before the timing we check
size and logits. On the test sentences we check F1 and agreement, which is the share of labels that
are the same as with {PYTORCH}. The shapes use BERT-base with seeded weights. Sentences go through
the fine-tuned classifier, from text to label. The best peer of a table is the one with the least
time per text.
"""
