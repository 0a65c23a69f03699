"""What a learner has done so far, in one small file of theirs: guesses, attempts at exercises."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from tutorial_utils.core import paths, records


@dataclass(frozen=True)
class Guess:
    """value: None if there is no guess. measured: None until it was measured."""

    value: float | None
    unit: str
    measured: float | None = None


@dataclass(frozen=True)
class Progress:
    """guesses: by name, as ``00.padding``. attempts: wrong answers to an exercise, by its name."""

    guesses: Mapping[str, Guess] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)


def folder() -> Path:
    """Where learners write: ``workbook/``, or what ``TUTORIAL_WORKBOOK`` names. Git ignores it.

    It is as deep as ``notebooks/``, so that links in a copy lead where they do in the original.
    """
    return Path(os.environ.get("TUTORIAL_WORKBOOK") or paths.repository() / "workbook")


def read() -> Progress:
    """What is stored; nothing if there is no file yet.

    A file that cannot be read is set aside; a message on stderr says so.
    """
    file = _file()
    if not file.exists():
        return Progress()
    try:
        return records.loads(Progress, file.read_text(encoding="utf-8"))
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        kept = file.with_suffix(".before.json")
        file.replace(kept)
        print(f"{file} cannot be read ({error}). It is kept as {kept.name}.", file=sys.stderr)
        return Progress()


def change(how: Callable[[Progress], Progress]) -> Progress:
    """Store what ``how`` makes of the progress so far, and return it. Writers take turns."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        made = how(read())
        paths.write(file, records.dumps(made))
    return made


def _file() -> Path:
    return folder() / "progress.json"
