"""JupyterLab as the course wants it: the repository as its root, the contents open, no news."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jupyterlab_server.workspaces_handler import WorkspacesManager

from tutorial_utils.core import paths

# Settings that a learner can still change in the Lab, where theirs win.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
# What a new workspace looks like; a learner's own layout is stored over it.
TOC = "@jupyterlab/toc:plugin"
LEFT = {"collapsed": False, "visible": True, "current": TOC, "widgets": ["filebrowser", TOC]}
WORKSPACE = {
    "metadata": {"id": "default"},
    "data": {"layout-restorer:data": {"left": LEFT, "relativeSizes": [0.2, 0.8, 0]}},
}


def start(first: Path, options: Sequence[str] = ()) -> int:
    """Open a notebook in JupyterLab; return its exit code once it has been stopped.

    options: of ``jupyter lab``.
    """
    state = paths.home() / "jupyter"
    paths.write(state / "labconfig" / "default_setting_overrides.json", json.dumps(SETTINGS))
    workspaces = WorkspacesManager(str(state / "workspaces"))
    if not list(workspaces.list_workspaces()):
        workspaces.save("default", json.dumps(WORKSPACE))
    command = [sys.executable, "-m", "jupyterlab", *options]
    # Links of a lesson lead into the repository, unless learners write elsewhere.
    root = paths.repository() if first.is_relative_to(paths.repository()) else first.parent
    command += [f"--ServerApp.root_dir={root}"]
    command += [f"--LabApp.workspaces_dir={workspaces.workspaces_dir}"]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        print("You are root (in a container?): JupyterLab is started with --allow-root.")
        command.append("--allow-root")
    search = os.pathsep.join([str(state), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])])
    try:
        return subprocess.call(
            [*command, str(first)], env=os.environ | {"JUPYTER_CONFIG_PATH": search}
        )
    except KeyboardInterrupt:  # Jupyter has it too, and asks whether it was meant
        return 130
