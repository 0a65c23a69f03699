"""The home folder, and files that are replaced in one step."""

import pytest

from tutorial_utils.core import paths


def test_the_variable_sets_the_home_and_the_folder_is_created(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_HOME", str(tmp_path / "elsewhere" / "deep"))
    assert paths.home() == (tmp_path / "elsewhere" / "deep").resolve()
    assert paths.home().is_dir()


def test_home_defaults_to_artifacts_in_the_repository(monkeypatch):
    monkeypatch.delenv("TUTORIAL_HOME")
    assert paths.home().name == "artifacts"
    assert (paths.home().parent / "pyproject.toml").exists()


def test_replacing_leaves_only_the_new_file(tmp_path):
    target = tmp_path / "folder" / "file.txt"
    with paths.replacing(target) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_failing_writer_leaves_only_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail():
        with paths.replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.glob("*file*")) == [target]
