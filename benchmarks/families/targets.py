"""Ours beside the best peer, family by family: which of ours counts, what is faster, targets."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.common import Target
from benchmarks.peers import targets as peers
from benchmarks.peers.targets import (
    OURS as CPU,
)
from benchmarks.peers.targets import (
    OURS_OPENVINO as OPENVINO,
)
from benchmarks.peers.targets import (
    PYTORCH,
    best_peer,
    engine_of,
    verdict,
)
from tutorial_utils.bench.intervals import Ratio

OURS = {CPU: "CPU", OPENVINO: "OpenVINO"}  # ours → its provider in ONNX Runtime
POPULAR = "popular recipe"
SHAPES = ((1, 128), (8, 128))
TITLES = tuple(f"{batch} × {length}" for batch, length in SHAPES)
# Base-size families. The kin have BERT's attention, and a limit on every machine.
KIN = ("bert", "distilbert", "roberta", "xlm-roberta", "electra", "albert")
BASE = (*KIN, "deberta-v2", "mpnet", "modernbert")
AMX, ELSEWHERE = 1.00, 1.05  # time relative to the best peer
SCORE, AGREEMENT = 0.005, 0.99


@dataclass(frozen=True)
class Time:
    """The time of ours at one shape, relative to PyTorch fp32 and to the best peer.

    name: of the candidate: all at once or in parts, whichever is faster.
    """

    name: str
    to_pytorch: Ratio
    peer: str
    to_peer: Ratio


def time_of(one: dict, ours: str, shape: str) -> Time | None:
    """The time of ours on one provider in a family's results; None if it or PyTorch did not run."""
    comparison = one.get("comparisons", {}).get(shape, {"rounds": {}})
    ran = [name for name in comparison["rounds"] if engine_of(name) == ours]
    if not ran or PYTORCH not in comparison["rounds"]:
        return None
    times = {name: verdict(comparison, name, PYTORCH) for name in ran}
    name = min(ran, key=lambda one: times[one].ratio)
    peer = best_peer(comparison)
    return Time(name, times[name], peer, verdict(comparison, name, peer))


def recommended(one: dict) -> str | None:
    """The provider that takes less time over both shapes; None if ours did not run."""
    means = {}
    for ours in OURS:
        times = [time_of(one, ours, shape) for shape in TITLES]
        if all(times):
            means[ours] = math.prod(t.to_pytorch.ratio for t in times if t)
    return min(means, key=lambda ours: means[ours], default=None)


def faster_peers(one: dict, shape: str) -> dict[str, Ratio]:
    """Peers that took less time than ours on the recommended provider; see ``peers.targets``."""
    ours = recommended(one)
    reached = time_of(one, ours, shape) if ours else None
    return peers.faster_peers(one["comparisons"][shape], reached.name) if reached else {}


def targets(found: dict) -> list[Target]:
    """Each family's targets on the machine of a run; those that were not measured, too."""
    return [target for family in BASE for target in _targets(family, found)]


def _targets(family: str, found: dict) -> Iterator[Target]:
    one = found.get(family, {})
    limit = _limit(family, found["machine"]["features"])
    ours = recommended(one)
    for shape in TITLES if limit else ():
        what, target = f"{family}, {shape}", f"at most {limit:.2f} × the best peer"
        reached = time_of(one, ours, shape) if ours else None
        if reached is None:
            yield Target(what, target, "–", None)
            continue
        ratio = reached.to_peer
        yield peers.at_most(what, target, f"{ratio.cell} × {reached.peer}", ratio, limit)
    score = one.get("quality", {}).get(ours)
    what, target = f"{family}, F1 and agreement", "within 0.005, at least 99 %"
    if score is None or one["classes"] < 2:
        yield Target(what, target, "–", None)
        return
    reached = f"{score['difference']:+.4f}, {score['agreement']:.2%}"
    if one.get("encoder") == "random":
        yield Target(what, target, f"{reached}; decides nothing, its layers are random", None)
        return
    met = abs(score["difference"]) <= SCORE and score["agreement"] >= AGREEMENT
    yield Target(what, target, reached, met)


def _limit(family: str, features: list[str]) -> float | None:
    """Time relative to the best peer; None: it is only reported."""
    if "amx_int8" in features:
        return AMX
    return ELSEWHERE if family in KIN else None
