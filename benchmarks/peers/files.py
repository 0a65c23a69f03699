"""The files that peers run: built once and cached."""

import json
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from benchmarks.peers.makers import MAKERS
from tutorial_utils.core import hashing, machine, paths, provenance
from tutorial_utils.lessons import pipeline


def ensure(kind: str, model: str) -> Path:
    """Path of a peer's file for ``classifier`` or ``bert-base``; built if it is missing.

    kind: a key of ``MAKERS``. It is built again when weights, versions or the code change.
    """
    target = path(kind, model)
    folder = target.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        stamp, record = _stamp(kind, model), folder / "stamp.json"
        if not record.exists() or json.loads(record.read_text()) != stamp:
            scratch = folder.with_name(f"{kind}-incomplete")
            for old in (folder, scratch):
                shutil.rmtree(old, ignore_errors=True)
            scratch.mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                MAKERS[kind][0](model, scratch / target.name)
            (scratch / record.name).write_text(json.dumps(stamp))
            scratch.rename(folder)
    return target


def path(kind: str, model: str) -> Path:
    """Where ``ensure`` puts a file. Nothing is built or loaded."""
    return paths.home() / "peers" / model / kind / MAKERS[kind][1]


def megabytes(file: Path) -> float:
    """Size of a file in MB, including its separate file of weights if it has one."""
    files = {file, file.with_suffix(".bin"), file.with_name(f"{file.name}.data")}
    return sum(part.stat().st_size for part in files if part.exists()) / 1e6


def _stamp(kind: str, model: str) -> dict:
    weights = pipeline.ensure("pytorch") / "model.safetensors"
    return {
        "source": hashing.sha256(weights) if model == "classifier" else model,
        "quantizer": machine.version("nncf"),  # which Transformers' exporter calls
        **asdict(provenance.of(MAKERS[kind][0])),
    }
