"""Targets, measured values and the best peer, all computed from a run's figures."""

import itertools

from benchmarks.common import Target, p50
from tutorial_utils.bench.intervals import RESOLUTION, Ratio

OURS = "ours int8"
PYTORCH = "PyTorch fp32"
PADDED = "PyTorch fp32, one by one, padded to 128"


def is_ours(name: str) -> bool:
    return name.startswith("ours")


def best_peer(comparison: dict) -> str:
    """The peer with the least time per item in a stored comparison.

    Raises:
        ValueError: it has no peer.
    """
    peers = [name for name in comparison["rounds"] if not is_ours(name)]
    if not peers:
        raise ValueError("Only our own candidates ran, so there is no best peer.")
    return min(peers, key=lambda name: verdict(comparison, name, peers[0]).ratio)


def faster_peers(comparison: dict) -> dict[str, Ratio]:
    """Peers that took less time than ours by more than the resolution, the fastest first.

    Their times are relative to ours. The interval of some may be too wide for a verdict.
    """
    if OURS not in comparison["rounds"]:
        return {}
    peers = [name for name in comparison["rounds"] if not is_ours(name)]
    found = {name: verdict(comparison, name, OURS) for name in peers}
    faster = {name: ratio for name, ratio in found.items() if ratio.ratio < 1 - RESOLUTION}
    return dict(sorted(faster.items(), key=lambda item: item[1].ratio))


def verdict(comparison: dict, name: str, reference: str) -> Ratio:
    """Time of ``name`` relative to ``reference`` in a stored comparison."""
    rounds = comparison["rounds"]
    return Ratio.of_rounds(rounds[name], rounds[reference])


def targets(found: dict) -> list[Target]:
    """Each target with the measured value. Missing stages count as not measured."""
    return [*_shapes(found), *_texts(found), *_growth(found)]


def _at_most(what: str, limit: float, comparison: dict | None) -> Target:
    """Time of ours relative to that of the best peer."""
    target = f"at most {limit:.2f} × the best peer"
    if not _ran(comparison, OURS):
        return Target(what, target, "–", None)
    peer = best_peer(comparison)
    v = verdict(comparison, OURS, peer)
    reached = f"{v.ratio:.2f} × {peer} [{v.low:.2f}, {v.high:.2f}]"
    return _target(what, target, reached, met=v.high <= limit, missed=v.low > limit)


def _target(what: str, target: str, reached: str, met: bool, missed: bool) -> Target:
    """Decide by the whole interval. If the limit is inside it, the target is undecided."""
    undecided = "" if met or missed else "; the interval is too wide to decide"
    return Target(what, target, reached + undecided, met if met or missed else None)


def _times_faster(
    what: str, limit: float, comparison: dict | None, reference: str | None = None
) -> Target:
    """How many times as fast ours is as ``reference``, or as the best peer."""
    target = f"at least {limit:g} × {reference or 'the best peer'}"
    if not _ran(comparison, OURS, *filter(None, [reference])):
        return Target(what, target, "–", None)
    slower = reference or best_peer(comparison)
    v = verdict(comparison, slower, OURS)
    reached = f"{v.ratio:.2f} × {slower} [{v.low:.2f}, {v.high:.2f}]"
    return _target(what, target, reached, met=v.low >= limit, missed=v.high < limit)


def _ran(comparison: dict | None, *names: str) -> bool:
    return comparison is not None and set(names) <= set(comparison["rounds"])


def _shapes(found: dict) -> list[Target]:
    stage = found.get("shapes", {})
    measured = stage.get("comparisons", {})
    one, large = "BERT-base 1 × 128, p50", "BERT-base 8 × 128"
    roof = _roof_share(found.get("roof"), measured.get("8 × 128"))
    sizes = {n: check["size_mb"] for n, check in stage.get("checks", {}).items()}
    ratio = sizes[PYTORCH] / sizes[OURS] if {PYTORCH, OURS} <= set(sizes) else None
    return [
        _at_most(one, 0.80, measured.get("1 × 128")),
        _times_faster(one, 5, measured.get("1 × 128"), PYTORCH),
        _at_most("BERT-base 1 × 24, p50", 0.70, measured.get("1 × 24")),
        _at_most(large, 0.95, measured.get("8 × 128")),
        Target(
            "share of the measured u8×s8 roof at 8 × 128", "at least 45 %",
            "–" if roof is None else f"{roof:.1%}", None if roof is None else roof >= 0.45,
        ),
        Target(
            "size, BERT-base", "at least 3.95 × smaller",
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
    quality = stage.get("checks", {}).get(OURS)
    waste = stage.get("padding_waste")
    what = "real sentences, text to label"
    f1 = agreement = "–"
    if quality:
        f1 = "{difference:+.4f} [{low:+.4f}, {high:+.4f}]".format(**quality)
        agreement = f"{quality['agreement']:.2%}"
    return [
        _times_faster(what, 25, everything, PADDED),
        _times_faster(f"{what}, with our batching", 1.25, comparisons.get("ours")),
        Target(
            "F1 against PyTorch fp32", "within 0.005",
            f1, abs(quality["difference"]) <= 0.005 if quality else None,
        ),
        Target(
            "same label as PyTorch fp32", "at least 99 %",
            agreement, quality["agreement"] >= 0.99 if quality else None,
        ),
        Target(
            "padding waste on real sentences", "at most 3 %",
            "–" if waste is None else f"{waste:.2%}", None if waste is None else waste <= 0.03,
        ),
    ]  # fmt: skip


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
