"""The page of the families: each beside other tools, and what ``optimize`` promoted."""

from benchmarks.common import Folder, interval, target_table, versions
from benchmarks.families.checkpoints import FAMILIES
from benchmarks.families.targets import (
    BASE,
    OPENVINO,
    OURS,
    POPULAR,
    TITLES,
    faster_peers,
    recommended,
    targets,
    time_of,
)
from benchmarks.peers.targets import faster_line
from benchmarks.stages import notes
from tutorial_utils.core import records
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table
from tutorial_utils.optimize import Outcome
from tutorial_utils.optimize import report as reporting

HEADERS = ("family", "promoted", "time", "size", "agreement", "all in INT8", "F1", "flips",
           "minutes", "peak MB")  # fmt: skip
REPORTED = ("bert", "deberta-v2", "modernbert")  # three kinds of attention
CHECKED = ("OpenVINO int8", POPULAR)  # peers whose answers are shown
ONE_CLASS = "– (its head gives one class only)"
CHECKPOINTS = """\
Each family is a checkpoint with a head fitted to 2,000 sentences. `deberta-v2` has the settings of
DeBERTa-v3."""
ENCODERS = {  # where the encoder comes from → what that means
    "classifier": "The encoder is that of the course's classifier, written into base size",
    "random": "The layers are random, only the words have real vectors, so answers are less sure",
}
PEERS = """\
*fused*: operators of the file that only a fusion writes; the OpenVINO provider fuses by itself, at
load. *in fp32*: products with weights that stay there, because too many answers changed in 8 bits;
none if the layers are random.
*PyTorch = 1*, *best peer = 1*: time with its 95 % interval; the best peer is the other tool with
the least time, PyTorch included. Every tool but PyTorch runs a batch of 8 at once or in parts at
the same time, whichever is faster. *agreement*: share of other sentences with PyTorch's answer;
*F1*: on the same sentences, with the difference to PyTorch's. Of two providers, **bold** is the one
that takes less time over both shapes, which the targets are about."""
PROMOTED = """\
Optimized with `--quick --max-score-fall 0.02` and 500 other sentences; those whose name is a link
to their whole report, without `--quick`.
*all in INT8*: agreement with PyTorch before products are kept in fp32. *time*: of one text,
relative to PyTorch fp32; *size*: of the weights, relative to PyTorch fp32; *flips*: share of texts
that get a different answer alone than in some batch; *peak*: of all processes together."""


def draw(found: dict, folder: Folder) -> None:
    """Write ``families.md`` with the runs of ``optimize`` in ``found``, and the folder's others.

    And the whole reports of those that have one, as ``optimize_FAMILY.md``.
    """
    for family in REPORTED:
        if stored := found.get(family, {}).get("outcome"):
            outcome, name = records.typed(Outcome, stored), f"optimize_{family}"
            text = reporting.markdown(outcome).replace(f"({reporting.GAINS})", f"({name}.png)")
            folder.write(f"{name}.md", text)
            folder.save_figure(name, reporting.gains(outcome))
    _write(found, folder.read("families_peers"), folder)


def draw_peers(found: dict, folder: Folder) -> None:
    """Write ``families.md`` with the comparison in ``found``, and the folder's other runs."""
    _write(folder.read("families"), found, folder)


def _write(promoted: dict, peers: dict, folder: Folder) -> None:
    parts = ["# Model families at base size", CHECKPOINTS]
    parts += _compared(peers) if peers else []
    parts += _promoted(promoted) if promoted else []
    folder.write("families.md", "\n\n".join(parts) + "\n")


def _compared(found: dict) -> list[str]:
    origins = found.get("stages", {}).values()
    more = next((origin["peers"] for origin in origins), {})
    known = versions(found, {name: version for name, version in more.items() if version})
    reasons: dict[str, list[str]] = {}
    for family in BASE:
        for name, reason in found.get(family, {}).get("failed", {}).items():
            reasons.setdefault(f"{name}: {reason}", []).append(family)
    told = sorted(f"- {why} ({', '.join(families)})" for why, families in reasons.items())
    parts = [
        "## Compared with other tools",
        f"Measured by `python -m benchmarks.families.peers` on: {Machine(**found['machine'])}, "
        f"with {known}.",
        notes("families.peers", found, BASE).strip(),
        faster(found),
        encoders(found),
        PEERS,
        table(found).markdown(),
        f"### Targets\n\n{target_table(targets(found)).markdown()}",
        "### Could not run here\n\n" + "\n".join(told) if told else "",
    ]
    return [part for part in parts if part]


def encoders(found: dict) -> str:
    """Where the encoders of the families come from. In older results they are random."""
    known: dict[str, list[str]] = {}
    for family in FAMILIES:
        if family in found:
            known.setdefault(found[family].get("encoder", "random"), []).append(family)
    return " ".join(f"{ENCODERS[kind]}: {', '.join(known[kind])}." for kind in sorted(known))


def for_docs(found: dict) -> str:
    """The table of the docs, after a sentence about what is faster than ours."""
    where = f"Measured on: {Machine(**found['machine'])}."
    parts = [faster(found), encoders(found), PEERS, table(found).markdown(), where]
    return "\n\n".join(parts)


def faster(found: dict) -> str:
    """A paragraph that says where another tool is faster than ours."""
    lines = []
    for family in BASE:
        for shape in TITLES:
            if peers := faster_peers(found.get(family, {}), shape):
                lines.append(faster_line(f"{family} {shape}", peers))
    if not lines:
        return "No other tool took less time than ours with any family."
    says = "Where another tool took less time than ours (our time = 1, with the 95 % interval):"
    return "\n".join([says, "", *lines])


def table(found: dict) -> Table:
    """One row for each family and provider."""
    headers = ("family", "provider", "fused", "in fp32")
    headers += tuple(f"{shape}, PyTorch = 1" for shape in TITLES)
    headers += (*(f"{shape}, best peer = 1" for shape in TITLES), "agreement", "F1")
    headers += tuple(f"agreement, {peer}" for peer in CHECKED)
    known = {family: found[family] for family in BASE if family in found}
    rows = [
        (family, *_compared_row(one, ours))
        for family, one in known.items()
        for ours in OURS
        if ours in one["fusions"]
    ]
    return Table.of(headers, rows)


def _compared_row(one: dict, ours: str) -> tuple[str, ...]:
    provider = OURS[ours]
    if len(one["fusions"]) > 1 and ours == recommended(one):
        provider = f"**{provider}**"
    fused = ", ".join(f"{name} {count}" for name, count in one["fusions"][ours].items())
    times = [time_of(one, ours, shape) for shape in TITLES]
    score = one["quality"].get(ours)
    theirs = (one["quality"].get(peer) for peer in CHECKED)
    return (
        provider,
        fused or ("at load" if ours == OPENVINO else "–"),
        str(one.get("kept", {}).get(ours, 0)),  # older results kept none
        *(interval(t.to_pytorch if t else None) for t in times),
        *(f"{t.to_peer.cell} {t.peer}" if t else "–" for t in times),
        _agreement(one, score),
        f"{score['score']:.3f} ({score['difference']:+.4f})" if score else "–",
        *(_agreement(one, peer) for peer in theirs),
    )


def _agreement(one: dict, score: dict | None) -> str:
    if score is None:
        return "–"
    return f"{score['agreement']:.2%}" if one["classes"] > 1 else ONE_CLASS


def _promoted(found: dict) -> list[str]:
    rows = [_row(found[family]) for family in FAMILIES if family in found]
    refused = [f"- {family}: {found[family]['last']}" for family in FAMILIES
               if family in found and found[family]["code"]]  # fmt: skip
    return [
        "## What `optimize` promotes",
        f"Measured by `python -m benchmarks.families` on: {Machine(**found['machine'])}.",
        encoders(found),
        PROMOTED,
        Table.of(HEADERS, rows).markdown(),
        "\n".join(["What was refused, and why:", "", *refused]) if refused else "None was refused.",
    ]


def _row(one: dict) -> tuple[str, ...]:
    minutes, peak = f"{one['seconds'] / 60:.1f}", f"{one['peak_mb']:,.0f}"
    family = one["family"]
    if "chosen" not in one:
        return (family, "–", *["–"] * 6, minutes, peak)
    chosen = one["chosen"] if one["promoted"] else f"refused ({one['chosen']})"
    flips = one["notes"][0].split(" of ")[0] if one["notes"] else "–"
    eight = [e["agreement"] for name, e in one["judged"].items() if name.endswith("int8")]
    return (
        f"[{family}](optimize_{family}.md)" if "outcome" in one else family,
        chosen,
        f"{one['times'][one['chosen']]['ratio']:.2f} ×",
        f"{one['size']:.2f} ×",
        f"{one['agreement']:.2%}" if one["score"] else ONE_CLASS,
        f"{eight[0]:.2%}" if eight and one["score"] else "–",
        f"{one['score']:.3f} ({one['difference']:+.4f})",
        flips,
        minutes,
        peak,
    )
