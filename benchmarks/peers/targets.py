"""Targets, measured values and the best peer, all computed from a run's figures."""

import itertools

from benchmarks.common import Target, p50
from benchmarks.peers.limits import Limit, limits
from tutorial_utils.bench.intervals import RESOLUTION, Ratio

OURS = "ours int8"
OURS_OPENVINO = "ours int8 (OpenVINO provider)"
PYTORCH = "PyTorch fp32"
PADDED = "PyTorch fp32, one by one, padded to 128"
STRETCH = "; the stretch goal too"


def is_ours(name: str) -> bool:
    return name.startswith("ours")


def engine_of(name: str) -> str:
    """The engine in a candidate's name, without its way to batch."""
    return name.split(",")[0]


def best_of_ours(comparison: dict) -> str | None:
    """The INT8 form of ours with the least time per item in a stored comparison, if one ran."""
    forms = [name for name in comparison["rounds"] if engine_of(name) in (OURS, OURS_OPENVINO)]
    return min(forms, key=lambda name: verdict(comparison, name, forms[0]).ratio, default=None)


def best_peer(comparison: dict) -> str:
    """The peer with the least time per item in a stored comparison.

    Raises:
        ValueError: it has no peer.
    """
    peers = [name for name in comparison["rounds"] if not is_ours(name)]
    if not peers:
        raise ValueError("Only our own candidates ran, so there is no best peer.")
    return min(peers, key=lambda name: verdict(comparison, name, peers[0]).ratio)


def faster_peers(comparison: dict, ours: str | None) -> dict[str, Ratio]:
    """Peers that took less time than ``ours`` by more than the resolution, the fastest first.

    Their times are relative to ours. The interval of some may be too wide for a verdict. ours: a
    candidate of the comparison; if None, ours did not run, and nothing is returned.
    """
    if ours is None:
        return {}
    peers = [name for name in comparison["rounds"] if not is_ours(name)]
    found = {name: verdict(comparison, name, ours) for name in peers}
    faster = {name: ratio for name, ratio in found.items() if ratio.ratio < 1 - RESOLUTION}
    return dict(sorted(faster.items(), key=lambda item: item[1].ratio))


def faster_line(title: str, peers: dict[str, Ratio]) -> str:
    """A line of a list that says which peers took less time than ours, and how much less."""
    told = (
        f"{name}, {ratio.cell}{'' if ratio.word == 'faster' else ' (undecided)'}"
        for name, ratio in peers.items()
    )
    return f"- {title}: {', '.join(told)}"


def verdict(comparison: dict, name: str, reference: str) -> Ratio:
    """Time of ``name`` relative to ``reference`` in a stored comparison."""
    rounds = comparison["rounds"]
    return Ratio.of_rounds(rounds[name], rounds[reference])


def targets(found: dict) -> list[Target]:
    """Each target with the measured value. Missing stages count as not measured."""
    return [*_shapes(found), *_texts(found), *_growth(found)]


def _at_most(what: str, limit: Limit, comparison: dict | None) -> Target:
    """Time of the best of ours relative to that of the best peer."""
    target = f"at most {limit.times('the best peer')}"
    ours = best_of_ours(comparison) if comparison else None
    if not comparison or not ours:
        return Target(what, target, "–", None)
    peer = best_peer(comparison)
    v = verdict(comparison, ours, peer)
    reached = f"{ours}: {v.ratio:.2f} × {peer} [{v.low:.2f}, {v.high:.2f}]"
    if limit.stretch is not None and v.high <= limit.stretch:
        reached += STRETCH
    return at_most(what, target, reached, v, limit.value)


def _times_faster(
    what: str, limit: Limit, comparison: dict | None, reference: str | None = None
) -> Target:
    """How many times as fast the best of ours is as ``reference``, or as the best peer."""
    target = f"at least {limit.times(reference or 'the best peer')}"
    ours = best_of_ours(comparison) if comparison else None
    if not comparison or not ours or not _ran(comparison, *filter(None, [reference])):
        return Target(what, target, "–", None)
    slower = reference or best_peer(comparison)
    v = verdict(comparison, slower, ours)
    reached = f"{ours}: {v.ratio:.2f} × {slower} [{v.low:.2f}, {v.high:.2f}]"
    if limit.stretch is not None and v.low >= limit.stretch:
        reached += STRETCH
    return _decided(what, target, reached, v.low >= limit.value, v.high < limit.value)


def at_most(what: str, target: str, reached: str, ratio: Ratio, limit: float) -> Target:
    """A target that ``ratio`` meets if its whole interval is at most ``limit``."""
    return _decided(what, target, reached, ratio.high <= limit, ratio.low > limit)


def _decided(what: str, target: str, reached: str, met: bool, missed: bool) -> Target:
    """If the limit is inside the interval, the target is undecided."""
    if not (met or missed):
        reached += "; the interval is too wide to decide"
    return Target(what, target, reached, met if met or missed else None)


def _ran(comparison: dict | None, *names: str) -> bool:
    return comparison is not None and set(names) <= set(comparison["rounds"])


def _shapes(found: dict) -> list[Target]:
    stage = found.get("shapes", {})
    measured = stage.get("comparisons", {})
    goals = limits(found)
    roof = _roof_share(found.get("roof"), measured.get("8 × 128"))
    sizes = {n: check["size_mb"] for n, check in stage.get("checks", {}).items()}
    ratio = sizes[PYTORCH] / sizes[OURS] if {PYTORCH, OURS} <= set(sizes) else None
    lines = [
        _at_most(f"BERT-base {shape}, p50", limit, measured.get(shape))
        for shape, limit in goals.times.items()
    ]
    if goals.pytorch:
        one = "1 × 128"
        faster = _times_faster(f"BERT-base {one}, p50", goals.pytorch, measured.get(one), PYTORCH)
        lines.append(faster)
    return [
        *lines,
        Target(
            f"share of the measured u8×s8 roof at 8 × 128, {OURS}", "at least 45 %",
            "–" if roof is None else f"{roof:.1%}", None if roof is None else roof >= 0.45,
        ),
        Target(
            f"size of BERT-base, {OURS}", "at least 3.95 × smaller",
            "–" if ratio is None else f"{ratio:.2f} ×", None if ratio is None else ratio >= 3.95,
        ),
    ]  # fmt: skip


def _roof_share(stage: dict | None, comparison: dict | None) -> float | None:
    """Share of the measured roof that ours reaches."""
    if not stage or not _ran(comparison, OURS):
        return None
    return stage["work"] / (p50(comparison, OURS) / 1e3) / stage["roof"]


def _texts(found: dict) -> list[Target]:
    stage = found.get("texts", {})
    comparisons = stage.get("comparisons", {})
    everything = comparisons.get("all")
    waste = stage.get("padding_waste")
    what = "real sentences, text to label"
    goals = limits(found)
    return [
        _times_faster(what, goals.padded, everything, PADDED),
        _times_faster(f"{what}, with our batching", goals.batched, comparisons.get("ours")),
        *(line for form in _claimed(found) for line in _quality(form, stage)),
        Target(
            "padding waste on real sentences", "at most 3 %",
            "–" if waste is None else f"{waste:.2%}", None if waste is None else waste <= 0.03,
        ),
    ]  # fmt: skip


def _claimed(found: dict) -> list[str]:
    """The forms of ours whose speed some comparison claims: each needs its own quality."""
    measured = [
        comparison
        for stage in ("shapes", "texts")
        for comparison in found.get(stage, {}).get("comparisons", {}).values()
    ]
    best = [best_of_ours(comparison) for comparison in measured]
    return sorted({engine_of(name) for name in best if name}) or [OURS]


def _quality(form: str, stage: dict) -> list[Target]:
    """F1 and agreement of a form of ours."""
    whats = (f"F1 against {PYTORCH}, {form}", f"same label as {PYTORCH}, {form}")
    targets = ("within 0.005", "at least 99 %")
    found = stage.get("checks", {}).get(form)
    if not found:
        return [Target(*pair, "–", None) for pair in zip(whats, targets, strict=True)]
    f1 = "{difference:+.4f} [{low:+.4f}, {high:+.4f}]".format(**found)
    agreement = found["agreement"]
    return [
        Target(whats[0], targets[0], f1, abs(found["difference"]) <= 0.005),
        Target(whats[1], targets[1], f"{agreement:.2%}", agreement >= 0.99),
    ]


def growth(runs: list[dict]) -> tuple[list[float], float]:
    """Compare the larger runs with the smaller ones before, between and after them.

    Returns:
        The speed of each larger run relative to the mean of its two neighbours, minus 1.
        The largest peak memory of the larger runs relative to that of the smaller ones, minus 1.
    """
    few, many = runs[::2], runs[1::2]
    faster = [
        2 * large["texts_per_s"] / (before["texts_per_s"] + after["texts_per_s"]) - 1
        for large, (before, after) in zip(many, itertools.pairwise(few), strict=True)
    ]
    largest = [max(run["peak_mb"] for run in group) for group in (few, many)]
    return faster, largest[1] / largest[0] - 1


def _growth(found: dict) -> list[Target]:
    stage = found.get("growth")
    target = "within 5 % of 10,000"
    whats = ("texts/s at 100,000 sentences", "peak memory at 100,000 sentences")
    if not stage:
        return [Target(what, target, "–", None) for what in whats]
    faster, memory = growth(stage["runs"])
    mean = sum(faster) / len(faster)
    speed = f"{mean:+.1%} [{min(faster):+.1%}, {max(faster):+.1%}]"
    return [
        Target(whats[0], target, speed, mean >= -0.05),
        Target(whats[1], target, f"{memory:+.1%}", memory <= 0.05),
    ]
