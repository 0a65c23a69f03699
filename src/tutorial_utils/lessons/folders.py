"""A new folder for each run of a lesson, so that no run deletes what another still uses."""

import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from tutorial_utils.core import paths

_IN_USE = "in-use.lock"
_held: list[FileLock] = []  # until this process ends


def fresh(lesson: str) -> Path:
    """A new folder for this run of a lesson. Those of runs that have ended are removed.

    A run has ended when its process has, such as the kernel of a notebook: each process holds a
    lock in its folder, and the system frees it, however the process ends.
    """
    home = paths.home() / "lessons" / lesson
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "runs.lock"):
        for old in home.glob("run-*"):
            lock = FileLock(old / _IN_USE)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            lock.release()
            shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=home))
        lock = FileLock(folder / _IN_USE)
        lock.acquire()
        _held.append(lock)
    return folder
