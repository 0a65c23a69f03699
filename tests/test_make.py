"""Make targets, as far as they can be tested without a new installation."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.servers import answers, free_port, running

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not shutil.which("make") or not hasattr(os, "geteuid"), reason="Windows has no make"
)


def recipe(target: str, *options: str) -> list[str]:
    """The commands that ``make TARGET`` would run."""
    command = ["make", "--dry-run", "--no-print-directory", target, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_command_of_make_lab_starts_jupyterlab(tmp_path):
    port = free_port()
    options = f"LAB_OPTIONS=--no-browser --port={port} --IdentityProvider.token="
    (lab,) = [line for line in recipe("lab", options) if "tutorial_utils lab" in line]
    command = [sys.executable, *shlex.split(lab)[1:]]
    environment = os.environ | {"HOME": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    page = f"http://127.0.0.1:{port}/lab"
    with running(command, lambda: answers(page), env=environment):
        assert answers(page)


def test_each_notebook_is_checked_by_exactly_one_of_the_test_targets():
    checked = [
        name
        for target in ("test", "test-slow")
        for line in recipe(target)
        if "--nbval" in line
        for name in re.findall(r"artifacts/solved/(\S+\.ipynb)", line)
    ]
    assert sorted(checked) == sorted(p.name for p in ROOT.glob("notebooks/*.ipynb"))
