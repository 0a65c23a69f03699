"""Versions on disk: many writers at a time, killed writers, and names that are no names."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny_models

from tutorial_utils import cli, optimize, registry
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import classifiers
from tutorial_utils.registry import BadModel, ModelForm, store, triton
from tutorial_utils.serving.settings import Settings

WRITERS = 12
PROCESSES = 3
# A writer's model and tokenizer say who wrote them; neither has to run.
WRITE = """
import sys
from pathlib import Path
from tutorial_utils import registry
from tutorial_utils.registry import ModelForm
root, folder, first, last = sys.argv[1:]
sys.stdin.readline()
for writer in range(int(first), int(last)):
    forms, tokenizer = [ModelForm(Path(folder, f"{writer}.onnx"))], Path(folder, f"{writer}.json")
    registry.write_version(Path(root), "sentiment", forms, tokenizer, ("no", "yes"))
"""


def sources(folder: Path, writer: int) -> tuple[Path, Path]:
    """A model and a tokenizer of 1 MB each that name their writer: copying takes a while."""
    files = folder / f"{writer}.onnx", folder / f"{writer}.json"
    for file in files:
        file.write_bytes(str(writer).encode().ljust(1_000_000))
    return files


def write(root: Path, model: Path, tokenizer: Path, **more) -> Path:
    return registry.write_version(
        root, "sentiment", [ModelForm(model)], tokenizer, ("no", "yes"), **more
    )


def owners(root: Path) -> list[str]:
    """Who wrote each version, all files verified; a version has one owner."""
    found = []
    for version in registry.versions(root, "sentiment"):
        folder = root / "sentiment" / version
        assert registry.read_manifest(folder).version == version
        model, tokenizer = (
            (folder / n).read_text().strip() for n in ("model.onnx", "tokenizer.json")
        )
        assert model == tokenizer
        found.append(model)
    return found


def test_many_threads_each_get_a_version_of_their_own(tmp_path):
    root, files = tmp_path / "registry", [sources(tmp_path, i) for i in range(WRITERS)]

    def write_pair(pair: tuple[Path, Path]) -> str:
        return write(root, *pair).name

    with ThreadPoolExecutor(WRITERS) as pool:
        numbers = list(pool.map(write_pair, files))
    assert sorted(map(int, numbers)) == list(range(1, WRITERS + 1))
    assert sorted(owners(root), key=int) == [str(i) for i in range(WRITERS)]


def test_many_processes_each_get_a_version_of_their_own(tmp_path):
    root, each = tmp_path / "registry", 5
    for writer in range(PROCESSES * each):
        sources(tmp_path, writer)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, root, tmp_path, str(n * each), str((n + 1) * each)],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(PROCESSES)
    ]  # fmt: skip
    for process in started:  # all at once
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[1] for process in started] == [""] * PROCESSES
    assert registry.versions(root, "sentiment") == [str(n + 1) for n in range(PROCESSES * each)]
    assert sorted(owners(root), key=int) == [str(i) for i in range(PROCESSES * each)]


def test_what_a_killed_writer_left_does_no_harm_and_is_no_version(tmp_path):
    root = tmp_path / "registry"
    code = (
        "import os, sys; from tutorial_utils.core import machine\n"
        "from tutorial_utils import registry; from pathlib import Path\n"
        "machine.versions = lambda: os._exit(9)  # the files are copied, the manifest is not\n"
        "file = Path(sys.argv[2])\n"
        "forms = [registry.ModelForm(file)]\n"
        "registry.write_version(Path(sys.argv[1]), 'sentiment', forms, file, ('a',))"
    )
    model, tokenizer = sources(tmp_path, 1)
    killed = subprocess.run([sys.executable, "-c", code, root, model])
    assert killed.returncode == 9
    (left,) = (root / "sentiment").glob("*incomplete*")
    assert registry.versions(root, "sentiment") == []
    write(root, model, tokenizer)
    assert owners(root) == ["1"]
    assert left.exists()  # it could be that of a writer who is still at work


def test_a_number_is_not_given_again_after_the_version_was_withdrawn(tmp_path):
    for _ in range(2):
        tiny_models.add(tmp_path, tiny_models.classifier())
    registry.withdraw(tmp_path, "sentiment", "2", "worse")
    assert tiny_models.add(tmp_path, tiny_models.classifier()).name == "3"
    assert registry.versions(tmp_path, "sentiment") == ["1", "3"]


def test_a_version_can_be_read_while_it_is_withdrawn(tmp_path):
    folder = tiny_models.add(tmp_path, tiny_models.classifier())

    def withdraw_and_restore():
        for _ in range(300):
            registry.withdraw(tmp_path, "sentiment", "1", "worse")
            registry.restore(tmp_path, "sentiment", "1")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(withdraw_and_restore)
        while not running.done():
            assert registry.read_manifest(folder).version == "1"
        running.result()
    assert registry.versions(tmp_path, "sentiment") == ["1"]


def test_a_version_is_complete_or_not_there(tmp_path, monkeypatch):
    root, files = tmp_path / "registry", sources(tmp_path, 1)

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(store.Manifest, "to_json", fail)
    with pytest.raises(OSError, match="disk full"):
        write(root, *files)
    monkeypatch.undo()
    assert not list((root / "sentiment").glob("*incomplete*"))
    assert registry.versions(root, "sentiment") == []
    assert write(root, *files).name == "1"


def test_the_latest_version_is_the_newest_in_use(tmp_path):
    def newest() -> str:
        return registry.load(tmp_path, "sentiment").manifest.version

    with pytest.raises(BadModel, match="holds no models"):
        newest()
    for _ in range(3):
        tiny_models.add(tmp_path, tiny_models.classifier())
    assert newest() == "3"
    with pytest.raises(BadModel, match=r"of 'topic', only models named \['sentiment'\]"):
        registry.load(tmp_path, "topic")
    registry.withdraw(tmp_path, "sentiment", "3", "worse")
    assert newest() == "2"
    for version in "12":
        registry.withdraw(tmp_path, "sentiment", version, "worse")
    with pytest.raises(BadModel, match="was withdrawn: worse"):
        newest()
    registry.restore(tmp_path, "sentiment", "1")
    assert newest() == "1"
    (tmp_path / "sentiment" / "1" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BadModel, match="not the file that was promoted"):
        newest()


BAD_NAMES = ["../../x", "..", "", "my model", "a/b", "a\\b", ".hidden", "-flag", "naïve", "a\n",
             "x" * 101, "C:x"]  # fmt: skip
GOOD_NAMES = ["a", "sentiment", "v2.1", "A_b-c", "7", "x" * 100]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_model_name_is_refused_by_all_before_anything_is_done(name, tmp_path, monkeypatch):
    def work(*_, **__):
        raise AssertionError("the name is checked first")

    monkeypatch.setattr(classifiers, "open_classifier", work)
    monkeypatch.setattr(pipeline, "ensure", work)
    root, model = tmp_path / "in" / "registry", tmp_path / "m"
    model.write_text("model")
    uses = [
        lambda: registry.write_version(root, name, [ModelForm(model)], model, ("a",)),
        lambda: optimize.optimize("model", tmp_path / "out", registry=root, name=name),
        lambda: pipeline.publish(root, name),
        lambda: registry.load(root, name),
        lambda: registry.versions(root, name),
        lambda: triton.write(root, name, tmp_path / "triton"),
        lambda: registry.withdraw(root, name, "1", "why"),
        lambda: registry.restore(root, name, "1"),
        lambda: Settings(registry=root, model=name),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="letters, digits") as refusal:
            use()
        assert not isinstance(refusal.value, BadModel)
    assert [path.name for path in tmp_path.rglob("*")] == ["m"]


@pytest.mark.parametrize(
    "command",
    [
        ["optimize", "model", "--out", "OUT"],
        ["publish", "--registry", "OUT"],
        ["withdraw", "--registry", "OUT", "--version", "1"],
        ["triton", "--registry", "OUT", "--out", "OUT"],
        ["serve", "--registry", "OUT"],
    ],
    ids=lambda command: command[0],
)
def test_each_command_says_what_names_are_allowed(command, tmp_path, capsys):
    given = [str(tmp_path / "out") if word == "OUT" else word for word in command]
    assert cli.main([*given, "--model", "my model"]) == 2
    assert "letters, digits" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_that_can_be_written_can_be_served(name, tmp_path):
    tiny_models.add(tmp_path, tiny_models.classifier(), name)
    assert Settings(registry=tmp_path, model=name).model == name
    assert registry.load(tmp_path, name).manifest.name == name
