"""The page of the families: which of ours counts, what is faster, targets; of made-up figures."""

import json
import re
from dataclasses import asdict

import pytest

from benchmarks.common import STORED, Folder
from benchmarks.families import report, targets
from benchmarks.families.checkpoints import FAMILIES
from benchmarks.families.targets import BASE, CPU, OPENVINO, POPULAR, TITLES
from benchmarks.peers.targets import PYTORCH
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import records
from tutorial_utils.core.machine import Machine
from tutorial_utils.optimize import Outcome, gate
from tutorial_utils.optimize.choice import Judged
from tutorial_utils.optimize.results import Candidate, Measured, Trial
from tutorial_utils.runtime.recipe import Recipe

AMX = ("avx2", "avx512_vnni", "amx_int8")
PARTS = ", 2 parts at a time"
QUALITY = {"score": 0.7, "difference": -0.002, "agreement": 0.992}


def compared(**milliseconds: float | list[float]) -> dict:
    """A stored comparison; one number stands for three equal rounds."""
    return {
        "rounds": {
            name: ms if isinstance(ms, list) else [ms] * 3 for name, ms in milliseconds.items()
        }
    }


def family(one: dict, eight: dict | None = None, **more) -> dict:
    """The results of a family that has a file for each provider."""
    ours = {CPU: {"Attention": 11, "Gelu": 12}, OPENVINO: {}}
    return {
        "failed": {},
        "fusions": {name: ours[name] for name in ours if name in one},
        "kept": {CPU: 9},
        "quality": {
            CPU: QUALITY,
            "OpenVINO int8": QUALITY | {"agreement": 0.97},
            POPULAR: QUALITY | {"agreement": 0.88},
        },
        "classes": 2,
        "comparisons": dict(zip(TITLES, map(_named, (one, eight or one)), strict=True)),
    } | more


def _named(times: dict) -> dict:
    return compared(**{PYTORCH: 100.0} | times)


def run(features=AMX, **families: dict) -> dict:
    """The content of families_peers.json."""
    here = Machine("Made-up processor", 2, 24, features, "Linux", {"torch": "2.13.0"})
    stages = {name: {"seconds": 9, "peers": {"openvino": "2026.4", "x": None}} for name in families}
    names = {name: name.replace("_", "-") for name in families}
    return {
        "machine": asdict(here),
        **{names[name]: one for name, one in families.items()},
        "stages": {names[name]: origin for name, origin in stages.items()},
    }


def promoted() -> dict:
    """A stored run of ``optimize`` on each family."""
    return next(found for f in map(Folder, STORED.iterdir()) if (found := f.read("families")))


def met(found: dict, name: str) -> dict[str, bool | None]:
    """What is met, by what follows the family's name."""
    lines = [t for t in targets.targets(found) if t.what.startswith(f"{name}, ")]
    return {t.what.removeprefix(f"{name}, "): t.met for t in lines}


def test_every_family_at_base_size_is_compared_and_no_other():
    assert set(BASE) == {name for name in FAMILIES if not name.endswith("-large")}


def test_ours_is_timed_as_it_is_faster_and_compared_with_the_fastest_peer():
    one = family({"OpenVINO bf16": 30.0, "OpenVINO int8": 20.0, CPU: 18.0, f"{CPU}{PARTS}": 16.0})
    found = targets.time_of(one, CPU, "8 × 128")
    assert (found.name, found.peer) == (f"{CPU}{PARTS}", "OpenVINO int8")
    assert found.to_pytorch.ratio == pytest.approx(0.16)
    assert found.to_peer.ratio == pytest.approx(0.8)
    assert targets.time_of(one, OPENVINO, "8 × 128") is None


def test_pytorch_is_the_best_peer_where_it_is_the_fastest():
    assert (
        targets.time_of(family({"OpenVINO int8": 120.0, CPU: 90.0}), CPU, TITLES[0]).peer == PYTORCH
    )


@pytest.mark.parametrize(
    ("cpu", "openvino", "expected"),
    [((10, 40), (12, 20), OPENVINO), ((10, 40), (30, 20), CPU), ((10, 40), None, CPU)],
)
def test_the_provider_that_takes_less_time_over_both_shapes_is_recommended(cpu, openvino, expected):
    shapes = [{CPU: float(ms)} for ms in cpu]
    for times, ms in zip(shapes, openvino or (), strict=bool(openvino)):
        times[OPENVINO] = float(ms)
    assert targets.recommended(family(*shapes)) == expected


def test_a_provider_that_did_not_run_at_both_shapes_is_not_recommended():
    one = family({CPU: 20.0, OPENVINO: 5.0}, {CPU: 20.0})
    assert targets.recommended(one) == CPU
    assert targets.recommended(family({"OpenVINO int8": 9.0})) is None


def test_without_pytorch_there_is_nothing_to_compare_with():
    one = family({"OpenVINO int8": 9.0, CPU: 5.0})
    for comparison in one["comparisons"].values():
        del comparison["rounds"][PYTORCH]
    assert report.table(run(bert=one)).rows[0][4:8] == ("–",) * 4
    assert report.faster(run(bert=one)).startswith("No other tool")


@pytest.mark.parametrize(
    ("features", "name", "ours", "expected"),
    [
        (AMX, "modernbert", 20.0, True),  # exactly the peer's time
        (AMX, "modernbert", 20.4, False),
        (AMX, "bert", 20.4, False),
        (("avx2",), "bert", 20.4, True),
        (("avx2",), "xlm_roberta", 21.2, False),
    ],
)
def test_the_limit_depends_on_family_and_machine(features, name, ours, expected):
    one = family({"OpenVINO int8": 20.0, CPU: ours})
    found = met(run(features, **{name: one}), name.replace("_", "-"))
    assert {shape: found[shape] for shape in TITLES} == dict.fromkeys(TITLES, expected)


def test_without_amx_other_families_than_berts_kin_are_only_reported():
    one = family({"OpenVINO int8": 20.0, CPU: 40.0})
    assert set(met(run(("avx2",), mpnet=one), "mpnet")) == {"F1 and agreement"}


def test_a_target_inside_the_interval_is_undecided():
    one = family({"OpenVINO int8": 20.0, CPU: [18.0, 20.0, 22.0]}, {CPU: 9.0})
    found = run(mpnet=one)
    assert [met(found, "mpnet")[shape] for shape in TITLES] == [None, True]
    (line,) = [t for t in targets.targets(found) if t.what == "mpnet, 1 × 128"]
    assert "too wide to decide" in line.reached
    assert "OpenVINO int8" in line.reached


def test_what_was_not_measured_is_neither_met_nor_missed():
    found = met(run(), "albert")
    assert found == dict.fromkeys([*TITLES, "F1 and agreement"])
    assert {t.reached for t in targets.targets(run())} == {"–"}


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ({}, True),
        ({"agreement": 0.989}, False),
        ({"difference": 0.006}, False),
        ({"difference": -0.006}, False),
    ],
)
def test_answers_are_judged_of_the_form_that_the_speed_is_claimed_for(quality, expected):
    bad = {"score": 0.1, "difference": -0.5, "agreement": 0.5}
    times = {CPU: 20.0, OPENVINO: 10.0}
    one = family(times, quality={CPU: bad, OPENVINO: QUALITY | quality})
    assert met(run(bert=one), "bert")["F1 and agreement"] is expected
    slower = family(times | {OPENVINO: 30.0}, quality={CPU: bad, OPENVINO: QUALITY})
    assert met(run(bert=slower), "bert")["F1 and agreement"] is False


def test_agreement_of_random_layers_decides_nothing():
    bad = {"score": 0.6, "difference": -0.05, "agreement": 0.95}
    one = family({CPU: 20.0}, quality={CPU: bad}, encoder="random")
    assert met(run(bert=one), "bert")["F1 and agreement"] is None
    assert met(run(bert=one | {"encoder": "classifier"}), "bert")["F1 and agreement"] is False


def test_a_head_with_one_class_has_no_agreement_to_judge():
    one = family({CPU: 20.0}, classes=1)
    assert met(run(bert=one), "bert")["F1 and agreement"] is None
    (row,) = report.table(run(bert=one)).rows
    assert row[8] == report.ONE_CLASS


def test_the_page_says_first_where_another_tool_is_faster():
    slow = family({"OpenVINO int8": 10.0, "PyTorch bf16": 12.0, CPU: 20.0}, {CPU: 20.0})
    told = report.faster(run(bert=slow))
    assert told.splitlines()[2:] == [
        "- bert 1 × 128: OpenVINO int8, 0.50 [0.50, 0.50], PyTorch bf16, 0.60 [0.60, 0.60]"
    ]
    noisy = family({"OpenVINO int8": [15.0, 18.0, 22.0], CPU: 20.0}, {CPU: 20.0})
    assert report.faster(run(bert=noisy)).endswith("(undecided)")
    close = family({"OpenVINO int8": 19.6, CPU: 20.0})
    assert report.faster(run(bert=close)).startswith("No other tool")


def test_the_table_has_a_row_for_each_family_and_provider():
    both = family({"OpenVINO int8": 20.0, CPU: 25.0, OPENVINO: 19.0})
    alone = family({"OpenVINO int8": 20.0, CPU: 10.0}, {"OpenVINO int8": 50.0, CPU: 40.0})
    rows = report.table(run(modernbert=both, bert=alone)).rows
    assert [row[:4] for row in rows] == [
        ("bert", "CPU", "Attention 11, Gelu 12", "9"),
        ("modernbert", "CPU", "Attention 11, Gelu 12", "9"),
        ("modernbert", "**OpenVINO**", "at load", "0"),
    ]
    assert rows[0][4:8] == (
        "0.10 [0.10, 0.10]",
        "0.40 [0.40, 0.40]",
        "0.50 [0.50, 0.50] OpenVINO int8",
        "0.80 [0.80, 0.80] OpenVINO int8",
    )
    assert rows[0][8:] == ("99.20%", "0.700 (-0.0020)", "97.00%", "88.00%")
    assert rows[2][8:10] == ("–", "–")  # its answers could not be compared


@pytest.fixture
def page(tmp_path) -> str:
    """families.md of a made-up comparison beside a stored run of optimize."""
    folder = Folder(tmp_path)
    folder.keep("families", promoted())
    one = family({"OpenVINO int8": 20.0, CPU: 25.0}, failed={OPENVINO: "its plugin is missing"})
    found = run(bert=one)
    folder.keep("families_peers", found)
    report.draw_peers(found, folder)
    first = (tmp_path / "families.md").read_text()
    report.draw(folder.read("families"), folder)
    assert (tmp_path / "families.md").read_text() == first  # whichever was run last
    return first


def test_both_runs_are_on_one_page_and_the_comparison_comes_first(page):
    order = [
        "Not measured: distilbert",
        "- bert 1 × 128: OpenVINO int8",
        "| bert ",
        "### Targets",
        f"- {OPENVINO}: its plugin is missing (bert)",
        "What `optimize` promotes",
        "peak MB",
    ]
    places = [page.index(words) for words in order]  # fmt: skip
    assert places == sorted(places)
    assert "torch 2.13.0, openvino 2026.4.\n" in page


def test_the_page_says_which_encoders_are_real_and_which_were_so_when_it_was_measured():
    both = {"encoder": "classifier"}, {"encoder": "random"}
    told = report.encoders({"machine": {}, "bert": both[0], "albert": both[1], "mpnet": {}})
    first, second = told.split(". ")
    assert first.startswith("The encoder is that of the course")
    assert first.endswith(": bert")
    assert second.endswith("answers are less sure: albert, mpnet.")


def test_without_a_comparison_there_is_only_what_optimize_promotes(tmp_path):
    report.draw(promoted(), Folder(tmp_path))
    page = (tmp_path / "families.md").read_text()
    assert "Compared with other tools" not in page
    named = [line.split()[1] for line in page.splitlines() if line.startswith("| ")]
    assert [name.lstrip("[").partition("]")[0] for name in named] == [
        "family", *(name for name in FAMILIES if name in promoted())
    ]  # fmt: skip


def test_a_whole_report_of_optimize_is_stored_with_its_figure_and_linked(tmp_path):
    found = promoted()
    name = next(name for name in report.REPORTED if name in found)
    times = {PYTORCH: Measured(1.0, 1.0, 1.0, 8.0), "exported": Measured(0.5, 0.4, 0.6, 4.0)}
    evidence = gate.Evidence((), {"one text": Ratio(0.5, 0.4, 0.6)}, 1.0)
    judged = Judged(Candidate("exported", "exported", "fp32"), evidence, ())
    outcome = Outcome(
        name, name, "single_label", (Trial("export", "exported", True),), (), (judged,),
        Recipe(()), {"one text": times}, None, ("It was dark.",), "a laptop", "1",
    )  # fmt: skip
    found[name]["outcome"] = json.loads(records.dumps(outcome))
    report.draw(found, Folder(tmp_path))
    assert f"| [{name}](optimize_{name}.md) " in (tmp_path / "families.md").read_text()
    page = (tmp_path / f"optimize_{name}.md").read_text()
    assert "- It was dark." in page
    assert "| exported | 0.50 [0.40, 0.60] |" in " ".join(page.split())
    assert re.findall(r"\]\((.*png)\)", page) == [f"optimize_{name}.png"]
    assert (tmp_path / f"optimize_{name}.png").stat().st_size > 1000
