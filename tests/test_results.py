"""Where results go: runs write to the artifacts' home, and `make results` to git."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import recompute, stages, store
from benchmarks.common import STORED, Folder, measured_folder, slug, write_between
from benchmarks.families.report import REPORTED
from benchmarks.gpu import card
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import machine, paths
from tutorial_utils.core.machine import Machine

ROOT = Path(__file__).parents[1]
MACHINES = sorted(path.name for path in STORED.iterdir())
WHOLE = next(name for name in MACHINES if (STORED / name / "soak.json").exists())


def contents(*places: Path) -> dict[Path, bytes]:
    files = [f for place in places for f in (place.rglob("*") if place.is_dir() else [place])]
    return {file: file.read_bytes() for file in files if file.is_file()}


def in_git() -> dict[Path, bytes]:
    return contents(STORED, ROOT / "README.md", ROOT / "docs")


def one(quick):
    yield {"runs": 1, "quick": quick}


def two(quick):
    yield {"runs": 1}
    yield {"runs": 2}


def three(quick):
    raise RuntimeError("this stage fails")
    yield {}


STAGES = {"one": one, "two": two, "three": three}


def draw(found: dict, folder: Folder) -> None:
    folder.write("trial.md", stages.notes("trial", found, tuple(STAGES)))


@pytest.mark.parametrize(
    ("processor", "features", "expected"),
    [
        ("AMD EPYC", ("avx2", "avx512_vnni"), "amd-epyc-avx512_vnni-2-cores"),
        (
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            ("avx2", "avx512_vnni", "amx_int8"),
            "intel-xeon-platinum-8481c-amx_int8-2-cores",
        ),
        ("AMD Ryzen 9 7950X 16-Core Processor", ("avx2",), "amd-ryzen-9-7950x-avx2-2-cores"),
        ("Apple M3", (), "apple-m3-2-cores"),
    ],
)
def test_a_machines_folder_is_named_after_processor_instructions_and_cores(
    processor, features, expected
):
    assert slug(Machine(processor, 2, 24, features, "Linux", {})) == expected


def test_stored_results_are_in_the_folder_of_the_machine_that_they_name():
    for folder in map(Folder, STORED.iterdir()):
        for file in folder.path.glob("*.json"):
            found = folder.read(file.stem)
            of_card = card.folder(found["card"][0]) if "card" in found else None
            assert (of_card or slug(Machine(**found["machine"]))) == folder.path.name


def test_a_run_writes_to_the_artifacts_home_and_changes_nothing_in_git():
    before = in_git()
    stages.run("trial", ["one", "two"], STAGES, draw)
    assert in_git() == before
    folder = paths.home() / "results" / slug(machine.describe())
    assert {file.name for file in folder.iterdir()} == {"trial.json", "trial.md"}


def test_a_stage_can_be_measured_alone_and_is_merged_with_earlier_ones():
    folder = measured_folder()
    stages.run("trial", ["two"], STAGES, draw)
    assert "Not measured: one, three." in (folder.path / "trial.md").read_text()
    found = stages.run("trial", ["one"], STAGES, draw)
    assert folder.read("trial") == json.loads(json.dumps(found))
    assert (found["one"], found["two"]) == ({"runs": 1, "quick": False}, {"runs": 2})
    assert "Not measured: three." in (folder.path / "trial.md").read_text()


def test_a_failing_stage_does_not_lose_earlier_results():
    with pytest.raises(RuntimeError, match="this stage fails"):
        stages.run("trial", [], STAGES, draw)
    assert measured_folder().read("trial")["two"] == {"runs": 2}


def test_the_report_warns_of_stages_of_different_versions():
    stages.run("trial", ["one"], STAGES, draw, more=lambda: {"files": "old"})
    stages.run("trial", ["two"], STAGES, draw, more=lambda: {"files": "new"})
    report = (measured_folder().path / "trial.md").read_text()
    assert "different files or versions" in report


def test_an_unknown_stage_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        stages.run("trial", ["four"], STAGES, draw)
    assert "unknown stage four; choose from one, two, three, report" in capsys.readouterr().err


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository with README, docs and an empty store."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    monkeypatch.setattr(store, "README", tmp_path / "README.md")
    monkeypatch.setattr(store, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(store, "STORED", tmp_path / "benchmarks" / "results")
    return tmp_path


def test_results_are_stored_by_machine_and_readme_shows_them(repository):
    fresh = measured_folder()
    for name in ("results", "soak"):
        found = Folder(STORED / WHOLE).read(name) | {"machine": asdict(machine.describe())}
        fresh.keep(name, found)
    links = "[soak](benchmarks/results/other/soak.md) [load](benchmarks/results/other/load.md)"
    readme = repository / "README.md"
    readme.write_text(f"{links}\n{readme.read_text()}")
    before = in_git()
    store.main([])
    assert in_git() == before  # the test has its own store
    stored = {file.name for file in (store.STORED / fresh.path.name).iterdir()}
    assert stored == {
        "results.json", "results.md", "soak.json", "soak.md", "soak.png",
    }  # fmt: skip
    shown = readme.read_text()
    assert f"benchmarks/results/{fresh.path.name}/soak.md" in shown
    assert "benchmarks/results/other/load.md" in shown  # this machine has no such file


def test_storing_keeps_the_stages_that_were_not_measured_again(repository):
    stored = Folder(store.STORED / measured_folder().path.name)
    stored.keep("soak", Folder(STORED / WHOLE).read("soak"))
    old = stored.read("soak")
    measured_folder().keep("soak", {"chaos": old["chaos"] | {"requests": 7}})
    measured_folder().keep("claims", {"figures": {"7": "new"}})
    stored.keep("claims", {"figures": {"7": "old", "8": "old"}})
    store.main([])
    assert stored.read("soak")["chaos"]["requests"] == 7
    assert stored.read("soak")["soak"] == old["soak"]
    assert stored.read("claims")["figures"] == {"7": "new", "8": "old"}


def test_nothing_is_stored_if_nothing_or_only_a_quick_run_was_measured(repository, monkeypatch):
    monkeypatch.setenv("TUTORIAL_PACE", "quick")
    stages.run("soak", ["one"], STAGES, draw)
    before = contents(repository / "README.md", repository / "docs", repository / "benchmarks")
    with pytest.raises(SystemExit, match="has no results"):
        store.main([])
    with pytest.raises(SystemExit, match="No results are stored for unknown"):
        store.main(["unknown"])
    after = contents(repository / "README.md", repository / "docs", repository / "benchmarks")
    assert after == before


@pytest.mark.parametrize("name", MACHINES)
def test_stored_reports_match_the_stored_figures(name, tmp_path, monkeypatch):
    monkeypatch.setattr(Folder, "save_figure", lambda *_: None)  # drawing takes long
    stored, drawn = Folder(STORED / name), Folder(tmp_path)
    before = in_git()
    for run in stored.path.glob("*.json"):
        shutil.copy(run, tmp_path)
    store.draw(drawn)
    for page in tmp_path.glob("*.md"):
        text = (stored.path / page.name).read_text(encoding="utf-8")
        assert page.read_text(encoding="utf-8") == text, page.name
    drawn_of = {run for run, report in store.REPORTS.items() if report and stored.read(run)}
    pages = {page.stem for page in tmp_path.glob("*.md")} - {f"optimize_{f}" for f in REPORTED}
    assert {run.removesuffix("_peers") for run in drawn_of} == pages  # two runs share a page
    assert in_git() == before


def test_only_the_text_between_the_markers_is_replaced(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nz\n")
    write_between(document, "x", "new\n")
    assert document.read_text() == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nz\n"
    with pytest.raises(ValueError, match=r"page.md has no section <!-- y:begin -->"):
        write_between(document, "y", "new")


def test_verdicts_are_recomputed_from_the_stored_rounds():
    rounds = {"a": [10.0, 10.0, 10.0], "b": [8.0, 9.0, 10.0]}
    before = {"name": "b", "reference": "a", "ratio": 0.9, "low": 0.85, "high": 0.95}
    comparison = {"timings": {"a": {}, "b": {}}, "rounds": rounds, "verdicts": {"b": before}}
    found = {"shapes": {"1 × 24": comparison}, "checks": {"a": 1}}
    ((where, same),) = recompute.comparisons(found)
    assert (where, same is comparison) == ("shapes · 1 × 24", True)
    ((name, old, new),) = recompute.recompute(comparison)
    assert (name, old.word, new.word) == ("b", "faster", "no measurable difference")
    assert comparison["verdicts"] == {"b": asdict(Ratio.of_rounds(rounds["b"], rounds["a"]))}


def test_stored_verdicts_match_their_rounds():
    for folder in STORED.iterdir():
        for file in folder.glob("*.json"):
            for where, comparison in recompute.comparisons(json.loads(file.read_text())):
                stored = json.loads(json.dumps(comparison["verdicts"]))
                list(recompute.recompute(comparison))
                for name, verdict in comparison["verdicts"].items():
                    assert stored[name] == pytest.approx(verdict), (file, where, name)
