"""docs/reading-the-report.md says what the code does."""

from pathlib import Path

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.graph import sensitivity
from tutorial_utils.optimize import QUICK, Effort, gate, ladder, target
from tutorial_utils.optimize.run import LONGER

PAGE = (Path(__file__).parents[1] / "docs" / "reading-the-report.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def listed(names):
    *others, last = (f"*{name}*" for name in names)
    return f"{', '.join(others)} and {last}"


def test_each_stage_is_named_in_order_and_those_that_a_gpu_leaves_out():
    names, on_gpu = ([s.__name__ for s in ladder.stages(t)] for t in (target.CPU, target.CUDA))
    assert f"The stages are {listed(names)}." in WORDS
    left_out = [name for name in names if name not in on_gpu]
    assert f"On a GPU, {listed(left_out)} are left out." in WORDS


def test_the_limits_are_quoted_as_the_gate_writes_them():
    evidence = gate.Evidence((), {"one text": Ratio(0.5, 0.4, 0.6)}, 0.5)
    (limit,) = {c.limit for c in gate.check(evidence) if c.name.startswith("latency")}
    assert f"**{limit}**" in WORDS
    assert f"-{gate.Limits().score_fall:g}**: F1 may fall by half a point" in WORDS


def test_the_numbers_are_those_of_the_code():
    usual = Effort()
    told = (
        f"{QUICK.rounds} rounds of {QUICK.seconds} s instead of {usual.rounds} of {usual.seconds} "
        f"s, on at most {QUICK.max_texts:,} texts instead of {usual.max_texts:,}"
    )
    assert told in WORDS
    assert (LONGER, sensitivity.SHARES) == (3, (1 / 8, 1 / 4, 1 / 2))
