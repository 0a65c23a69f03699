"""Where artifacts are stored, and how to write a file so that no reader sees half of it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def repository() -> Path:
    """The root of the repository with this file, when the package is installed editable."""
    return Path(__file__).resolve().parents[3]


def home() -> Path:
    """Folder of everything that is downloaded or built; created when missing.

    ``TUTORIAL_HOME`` overrides the default, ``artifacts/`` beside ``pyproject.toml`` (or in the
    working folder when the package is installed away from its repository).
    """
    override = os.environ.get("TUTORIAL_HOME")
    inside = (repository() / "pyproject.toml").exists()
    folder = Path(override) if override else (repository() if inside else Path.cwd()) / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def weights_of(model: Path) -> Path:
    """The file beside an ONNX file that holds its weights, if they are too large for one file."""
    return model.with_name(f"{model.name}.data")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``target``; rename it to ``target`` on success.

    On an exception the temporary file is removed and ``target`` stays as it was. The temporary
    path has the same suffix, because some writers choose the format by it (``.onnx``, ``.png``).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix, suffix = f".{target.stem}-", target.suffix
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes files private; artifacts are meant to be shared
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write(target: Path, text: str) -> None:
    """Write a text file as ``replacing`` does, in UTF-8."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
