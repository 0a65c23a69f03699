"""The pure parts of the peers' benchmark: best peer, targets, tables. Needs no peer."""

import copy
import os
import signal
from dataclasses import asdict

import pytest

from benchmarks.common import Folder
from benchmarks.isolated import Crashed, in_a_process
from benchmarks.peers import report, targets
from benchmarks.peers.limits import AMX, NO_AMX, Limit, limits
from benchmarks.peers.targets import OURS, OURS_OPENVINO, PADDED, PYTORCH
from tutorial_utils.core import machine


def comparison(**milliseconds: float) -> dict:
    """A stored comparison in which each candidate takes the same time in every round."""
    return {
        "rounds": {name: [ms, ms, ms] for name, ms in milliseconds.items()},
        "timings": {
            name: {
                "items": 1,
                "p50_ms": ms,
                "p95_ms": ms,
                "items_per_s": 1e3 / ms,
                "peak_mb": 100.0,
            }
            for name, ms in milliseconds.items()
        },
    }


def shapes(ours: float, peer: float) -> dict:
    one = comparison(**{PYTORCH: 100.0, "slow": 90.0, "quick": peer, OURS: ours, "ours fp32": 1.0})
    sizes = {PYTORCH: {"size_mb": 400.0}, OURS: {"size_mb": 100.0}}
    return {"checks": sizes, "comparisons": {"1 × 128": one, "8 × 128": one}}


def met(found: dict) -> dict[tuple[str, str], bool | None]:
    return {(t.what, t.target): t.met for t in targets.targets(found)}


def test_the_best_peer_is_the_fastest_that_is_not_ours():
    assert targets.best_peer(comparison(a=3.0, b=2.0, c=2.5, **{OURS: 1.0})) == "b"


def test_without_a_peer_there_is_no_best_peer():
    with pytest.raises(ValueError, match="no best peer"):
        targets.best_peer(comparison(**{OURS: 1.0}))


AMX_MACHINE = {"features": ["avx2", "amx_int8"]}
ONE = "BERT-base 1 × 128, p50"


def test_the_limits_are_those_of_the_processor_of_the_run():
    assert limits({"machine": AMX_MACHINE}) is AMX
    assert limits({"machine": {"features": ["avx2", "avx512_vnni"]}}) is NO_AMX
    assert limits({}) is NO_AMX


def test_a_limit_names_its_stretch_goal():
    assert Limit(0.95, 0.9).times("x") == "0.95 × x (stretch 0.90)"
    assert Limit(28).times("x") == "28 × x"


@pytest.mark.parametrize(("ours", "peer", "expected"), [(15, 20, True), (19.2, 20, False)])
def test_a_latency_target_compares_with_the_best_peer(ours, peer, expected):
    found = met({"shapes": shapes(ours, peer), "machine": AMX_MACHINE})
    assert found[ONE, "at most 0.95 × the best peer (stretch 0.85)"] is expected
    assert found[ONE, f"at least 6.5 × {PYTORCH}"] is expected


def test_the_same_times_can_meet_the_limit_of_another_processor():
    found = met({"shapes": shapes(20.5, 20.0)})
    assert found[ONE, "at most 1.05 × the best peer (stretch 1.00)"] is True
    assert not any(PYTORCH in target for _, target in found if "at least 6.5" in target)


def test_a_reached_stretch_goal_is_told():
    lines = targets.targets({"shapes": shapes(16.0, 20.0), "machine": AMX_MACHINE})
    (reached,) = (line.reached for line in lines if line.what == ONE and "most" in line.target)
    assert reached == f"{OURS}: 0.80 × quick [0.80, 0.80]; the stretch goal too"


def test_the_faster_form_of_ours_counts_and_is_named():
    large = f"{OURS_OPENVINO}, 2,048 tokens"
    both = comparison(**{"a": 2.0, OURS: 3.0, large: 1.5, "ours fp32": 0.1})
    assert targets.best_of_ours(both) == large
    assert targets.best_of_ours(comparison(a=1.0)) is None
    assert targets.faster_peers(both, targets.best_of_ours(both)) == {}
    lines = targets.targets({"texts": {"comparisons": {"ours": both}}})
    told = [line.reached for line in lines if line.reached.startswith(large)]
    assert told == [f"{large}: 1.33 × a [1.33, 1.33]; the stretch goal too"]


def test_quality_is_that_of_each_form_whose_speed_is_claimed():
    f1 = {"difference": -0.002, "low": -0.01, "high": 0.002, "score": 0.88}
    checks = {OURS: f1 | {"agreement": 0.995}, OURS_OPENVINO: f1 | {"agreement": 0.985}}
    one = comparison(**{"a": 2.0, OURS: 1.0, OURS_OPENVINO: 3.0})
    other = comparison(**{"a": 2.0, OURS: 3.0, OURS_OPENVINO: 1.0})

    def agreements(*found: dict) -> dict:
        texts = {"checks": checks, "comparisons": dict(enumerate(found))}
        lines = met({"texts": texts})
        return {w: m for (w, _), m in lines.items() if w.startswith("same label")}

    ours, on_openvino = (f"same label as {PYTORCH}, {form}" for form in (OURS, OURS_OPENVINO))
    assert agreements(one) == {ours: True}
    assert agreements(other) == {on_openvino: False}
    assert agreements(one, other) == {ours: True, on_openvino: False}


def test_targets_show_the_measured_value_and_its_reference():
    roof = {"roof": 2.0, "work": 0.009}  # 0.6 of 2 · 10^12 operations per second in 15 ms
    lines = targets.targets({"shapes": shapes(15.0, 20.0), "roof": roof})
    reached = {line.target: line.reached for line in lines}
    one = reached["at most 1.05 × the best peer (stretch 1.00)"]
    assert one.startswith(f"{OURS}: 0.75 × quick")
    assert reached["at least 3.95 × smaller"] == "4.00 ×"
    assert reached["at least 45 %"] == "30.0%"


def test_a_target_that_was_not_measured_is_neither_met_nor_missed():
    assert set(met({}).values()) == {None}
    assert len(met({})) == len(targets.targets({}))


def test_targets_for_real_sentences_quality_and_growth():
    f1 = {"difference": -0.004, "low": -0.01, "high": 0.002, "agreement": 0.985, "score": 0.88}
    found = met(
        {
            "texts": {
                "checks": {OURS: f1},
                "padding_waste": 0.01,
                "comparisons": {
                    "all": comparison(**{PADDED: 31.0, "a": 2.0, OURS: 1.0}),
                    "ours": comparison(**{PYTORCH: 5.0, "a": 1.05, OURS: 1.0}),
                },
            },
            "growth": {"runs": [grown(1000.0, 100.0), grown(930.0, 101.0), grown(1000.0, 99.0)]},
        }
    )
    words = {what: reached for (what, _), reached in found.items()}
    assert words["real sentences, text to label"] is True
    assert words["real sentences, text to label, with our batching"] is False
    assert words[f"F1 against PyTorch fp32, {OURS}"] is True
    assert words[f"same label as PyTorch fp32, {OURS}"] is False
    assert words["texts/s at 100,000 sentences"] is False
    assert words["peak memory at 100,000 sentences"] is True


def grown(texts_per_s: float, peak_mb: float) -> dict:
    return {"texts": 10, "texts_per_s": texts_per_s, "peak_mb": peak_mb}


def test_growth_compares_each_larger_run_with_the_mean_of_its_two_neighbours():
    runs = [grown(100, 50), grown(90, 60), grown(80, 48), grown(88, 55), grown(80, 49)]
    faster, memory = targets.growth(runs)
    assert faster == pytest.approx([0.0, 0.1])
    assert memory == pytest.approx(0.2)


def test_the_summary_shows_each_engine_once_with_its_best_own_batching():
    own = comparison(**{PADDED: 30.0, "a, its queue": 2.0, "a, batches of 32": 4.0})
    found = {
        "shapes": {"checks": {"a": {"size_mb": 10.0}}, "comparisons": {}},
        "texts": {"comparisons": {"own": own, "ours": comparison(a=1.0)}, "checks": {}},
    }
    rows = {row[0]: row for row in report.summary(found).rows}
    assert list(rows) == [PADDED, "a"]
    assert rows["a"][1:4] == ("500", "1,000", "10")


def test_a_function_in_its_own_process_returns_its_value_or_says_how_it_failed():
    assert in_a_process(abs, -3) == 3
    with pytest.raises(Crashed, match="ValueError"):
        in_a_process(int, "no number")
    with pytest.raises(Crashed, match="SIGILL"):
        in_a_process(_illegal)


def _illegal() -> None:
    os.kill(os.getpid(), signal.SIGILL)


@pytest.fixture
def run():
    """The figures of a complete run."""
    return {
        "machine": asdict(machine.describe()),
        "shapes": shapes(15.0, 20.0) | {"failed": {"x bf16": "ended by SIGILL"}},
        "texts": {"comparisons": {"ours": comparison(a=1.2, **{OURS: 1.0})}, "checks": {}},
        "growth": {"runs": [grown(9.0, 1.0), grown(9.0, 1.0), grown(9.0, 1.0)]},
        "roof": {"roof": 2.0, "work": 0.009},
        "peers": {"openvino": "7.8"},
    }


def test_the_report_of_a_run_has_targets_failures_and_figures_with_alt_text(run, tmp_path):
    report.draw(run, Folder(tmp_path))
    page = (tmp_path / "peers.md").read_text()
    assert "0.75 × quick" in page
    assert "- x bf16: ended by SIGILL" in page
    pictures = {p.name for p in tmp_path.glob("*.png")}
    assert {"peers_1x128.png", "peers_8x128.png", "peers_ours.png"} == pictures
    assert page.count("![Bars of the time") == len(pictures)
    assert "openvino 7.8" in page
    assert "Not measured" not in page
    assert "those for a processor without AMX" in page
    assert OURS in report.for_readme(run)


def test_the_report_tells_in_which_precision_openvino_computes(run, tmp_path):
    report.draw(run, Folder(tmp_path))
    assert "How OpenVINO multiplies" not in (tmp_path / "peers.md").read_text()
    run["shapes"]["checks"]["quick"] = {"size_mb": 9.0, "kernels": {"gemm_f32": 73, "jit_i8": 1}}
    report.draw(run, Folder(tmp_path))
    assert "73 × gemm_f32, 1 × jit_i8" in (tmp_path / "peers.md").read_text()


def test_the_report_starts_with_where_another_tool_is_faster(run, tmp_path):
    page = report.faster(run)
    assert page.startswith("No other tool took less time")
    run["shapes"] = shapes(15.0, 12.0)
    report.draw(run, Folder(tmp_path))
    page = (tmp_path / "peers.md").read_text()
    sentence = page.index("- BERT-base 1 × 128: quick, 0.80 [0.80, 0.80]")
    assert sentence < page.index("## Targets")
    assert report.for_readme(run).startswith(
        "Where another tool took less time than the best of ours"
    )


def test_the_readme_shows_runs_of_several_machines_side_by_side(run):
    other = copy.deepcopy(run)
    other["machine"]["processor"] = "Another"
    other["shapes"] = shapes(15.0, 12.0)
    page = report.for_readme(run, [other])
    rows = [line for line in page.splitlines() if line.startswith(("| Another", "| machine"))]
    assert len(rows) == 2
    assert "| 1.25 [1.25, 1.25] (quick) " in rows[1]
    assert rows[1].count("–") == 1  # 1 × 24 was not measured
    told = page.index("- BERT-base 1 × 128: quick, 0.80 [0.80, 0.80]")
    assert page.index("**Another (") < told < page.index("No other tool") < page.index("| machine")
    assert "| machine" not in report.for_readme(run)


def test_the_report_of_a_partial_run_names_the_missing_stages(run, tmp_path):
    del run["shapes"], run["growth"]
    report.draw(run, Folder(tmp_path))
    page = (tmp_path / "peers.md").read_text()
    assert "`python -m benchmarks.peers shapes growth` measures the rest" in page
