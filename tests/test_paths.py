import pytest

from tutorial_utils.core import paths


def test_home_is_where_the_variable_says_and_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_HOME", str(tmp_path / "elsewhere" / "deep"))
    assert paths.home() == (tmp_path / "elsewhere" / "deep").resolve()
    assert paths.home().is_dir()


def test_home_defaults_to_artifacts_in_the_repository(monkeypatch):
    monkeypatch.delenv("TUTORIAL_HOME")
    assert paths.home().name == "artifacts"
    assert (paths.home().parent / "pyproject.toml").exists()


def test_a_replaced_file_is_the_new_one_and_nothing_else_is_left(tmp_path):
    target = tmp_path / "folder" / "file.txt"
    with paths.replacing(target) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_writer_that_fails_leaves_the_old_file_and_no_trace(tmp_path):
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
