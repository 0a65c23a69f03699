"""Each run of a lesson has a folder of its own, as long as its process lives."""

import subprocess
import sys

import pytest

from tutorial_utils.lessons import folders

RUN = "from tutorial_utils.lessons import folders; print(folders.fresh('06'), flush=True); input()"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Starts a process that takes a folder and keeps it; gives the process and the folder."""
    monkeypatch.setenv("TUTORIAL_HOME", str(tmp_path))
    started = []

    def start():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", RUN], **pipes)
        started.append(process)
        return process, tmp_path / "lessons" / "06" / process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_folder_is_removed_by_the_next_run_only_if_its_process_has_ended(run):
    killed, old = run()
    _, used = run()
    assert old != used
    assert old.is_dir()
    killed.kill()
    killed.wait()
    new = folders.fresh("06")
    assert (old.exists(), used.is_dir(), new.is_dir()) == (False, True, True)
    assert folders.fresh("06") != new  # the first cell of a notebook, run twice
    assert new.is_dir()


def test_other_lessons_and_files_beside_are_left_alone(run, tmp_path):
    other = folders.fresh("07")
    kept = tmp_path / "lessons" / "06" / "labelled.csv"
    kept.parent.mkdir()
    kept.touch()
    folders.fresh("06")
    assert kept.exists()
    assert other.is_dir()
