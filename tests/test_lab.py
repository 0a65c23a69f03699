"""JupyterLab opens as the lessons need it."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks.servers import answers, free_port, running
from tutorial_utils.lessons import lab

ROOT = Path(__file__).parents[1]
FIRST = ROOT / "notebooks" / "00_start_here.ipynb"
NEWS = "@jupyterlab/apputils-extension:notification"


@pytest.fixture
def start(monkeypatch):
    """Start the Lab, but only as far as its command and its environment."""

    def started(first: Path) -> tuple[list[str], dict[str, str]]:
        calls = []
        monkeypatch.setattr(subprocess, "call", lambda command, env: calls.append((command, env)))
        lab.start(first)
        return calls[0]

    return started


def test_its_root_is_the_repository_so_that_links_to_docs_work(start):
    command, _ = start(FIRST)
    assert f"--ServerApp.root_dir={ROOT}" in command
    assert command[-1] == str(FIRST)


def test_its_root_is_a_learners_own_folder_outside_the_repository(start, tmp_path):
    command, _ = start(tmp_path / "mine" / "00_start_here.ipynb")
    assert f"--ServerApp.root_dir={tmp_path / 'mine'}" in command


def test_it_asks_for_no_news_and_has_the_contents_open(start):
    command, environment = start(FIRST)
    (state, *_) = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    settings = Path(state, "labconfig", "default_setting_overrides.json").read_text()
    assert json.loads(settings)[NEWS] == {"fetchNews": "false", "checkForUpdates": False}
    (folder,) = [o.partition("=")[2] for o in command if "workspaces_dir" in o]
    (workspace,) = Path(folder).iterdir()
    left = json.loads(workspace.read_text())["data"]["layout-restorer:data"]["left"]
    assert (left["current"], left["collapsed"]) == ("@jupyterlab/toc:plugin", False)


@pytest.mark.slow
def test_jupyterlab_takes_over_all_three(tmp_path):
    port = free_port()
    options = ["--no-browser", f"--port={port}", "--IdentityProvider.token="]
    code = (
        "from pathlib import Path; from tutorial_utils.lessons import lab; "
        f"lab.start(Path({str(FIRST)!r}), {options})"
    )
    environment = os.environ | {"HOME": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    page = f"http://127.0.0.1:{port}"

    def get(path: str) -> str:
        with urllib.request.urlopen(page + path) as response:
            return response.read().decode()

    with running([sys.executable, "-c", code], lambda: answers(f"{page}/lab"), env=environment):
        assert json.loads(get("/api/contents/docs"))["type"] == "directory"
        setting = json.loads(get(f"/lab/api/settings/{NEWS}"))
        assert setting["schema"]["properties"]["fetchNews"]["default"] == "false"
        workspace = json.loads(get("/lab/api/workspaces/default"))
        left = workspace["data"]["layout-restorer:data"]["left"]
        assert left["current"] == "@jupyterlab/toc:plugin"
