"""Files that peers run, and engines that cannot run here. Needs no peer."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.isolated import Crashed, in_a_process
from benchmarks.peers import engines, files, groups, makers
from benchmarks.peers.candidates import OpenVinoQueue, Pipeline, Texts
from benchmarks.peers.targets import OURS_OPENVINO
from tutorial_utils.bench.candidates import Labelling
from tutorial_utils.core import machine
from tutorial_utils.runtime import session
from tutorial_utils.runtime.session import ProviderUnavailable


@pytest.fixture
def built(monkeypatch):
    """The paths that a maker of small files wrote to, and the stamp it has."""
    paths: list[Path] = []
    stamp = {"version": 1}

    def make(model: str, target: Path) -> None:
        paths.append(target)
        target.write_text(model)

    monkeypatch.setitem(files.MAKERS, "small", (make, "model.onnx"))
    monkeypatch.setattr(files, "_stamp", lambda kind, model: dict(stamp))
    return paths, stamp


def test_a_file_is_built_once_until_its_stamp_changes(built):
    paths, stamp = built
    first = files.ensure("small", "bert-base")
    assert first == files.path("small", "bert-base")
    assert first.read_text() == "bert-base"
    files.ensure("small", "bert-base")
    assert len(paths) == 1
    stamp["version"] = 2
    files.ensure("small", "bert-base")
    assert len(paths) == 2


def test_a_file_that_could_not_be_made_is_not_there(built, monkeypatch):
    def fail(model: str, target: Path) -> None:
        target.write_text("half of it")
        raise OSError("full")

    monkeypatch.setitem(files.MAKERS, "small", (fail, "model.onnx"))
    with pytest.raises(OSError, match="full"):
        files.ensure("small", "bert-base")
    assert not files.path("small", "bert-base").exists()


def test_the_size_of_a_file_includes_its_weights(tmp_path):
    for name, size in (("model.xml", 1_000), ("model.bin", 2_000_000), ("other.bin", 9)):
        (tmp_path / name).write_bytes(bytes(size))
    assert files.megabytes(tmp_path / "model.xml") == pytest.approx(2.001)


def test_without_its_provider_an_engine_builds_nothing_and_says_why(monkeypatch):
    monkeypatch.setattr(session, "provider_problem", lambda provider: f"{provider} is ill")
    monkeypatch.setattr(files, "ensure", lambda *_: pytest.fail("a file was built"))
    engine = groups.engines("bert-base")[OURS_OPENVINO]
    with pytest.raises(ProviderUnavailable, match="openvino is ill"):
        engine.prepare()


def test_our_own_errors_come_out_of_a_process_as_they_are():
    with pytest.raises(Crashed, match=r"^no device$"):
        in_a_process(_unavailable)


def _unavailable() -> None:
    raise ProviderUnavailable("no device")


def test_only_engines_with_a_way_to_run_concurrent_batches_get_one():
    ours = Labelling(budget=256, workers=2)
    openvino = engines.OpenVino("classifier", "openvino_int8")
    assert groups._concurrent(openvino, ours) == OpenVinoQueue(openvino, "test", budget=256)
    ort = engines.Ort("classifier", "popular")
    alone = engines.Ort("classifier", "popular", threads=1)
    assert groups._concurrent(ort, ours) == Texts(alone, "test", budget=256, workers=2)
    on_openvino = engines.Ort("classifier", "onnx_int8", provider="openvino")
    assert groups._concurrent(on_openvino, ours) is None


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_a_failed_export_in_another_environment_tells_its_last_words(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho Traceback >&2\necho 'ImportError: too new' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(makers, "OPTIMUM", python)
    _small_model(monkeypatch)
    with pytest.raises(makers.NotExported, match=r"^ImportError: too new$"):
        makers._optimum_int8("classifier", tmp_path / "model.xml")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_an_export_in_another_environment_gets_model_samples_and_folder(tmp_path, monkeypatch):
    python, target = tmp_path / "python", tmp_path / "made" / "model.xml"
    target.parent.mkdir()
    python.write_text('#!/bin/sh\ncp "$2/weights" "$4/model.xml"; cp "$3" "$4/samples.npz"\n')
    python.chmod(0o755)
    monkeypatch.setattr(makers, "OPTIMUM", python)
    _small_model(monkeypatch)
    makers._optimum_int8("classifier", target)
    assert target.read_text() == "weights"
    stored = np.load(target.with_name("samples.npz"))
    assert {name: stored[name].tolist() for name in stored} == {"ids/0": [[1]], "ids/1": [[2]]}


def _small_model(monkeypatch) -> None:
    class Model:
        def save_pretrained(self, folder: Path) -> None:
            folder.mkdir()
            (folder / "weights").write_text("weights")

    monkeypatch.setattr(makers, "load", lambda model: Model())
    found = [{"ids": np.array([[i]])} for i in (1, 2)]
    monkeypatch.setattr(makers, "samples", lambda model: found)


def test_pytorch_in_bf16_is_left_out_where_it_would_only_take_time(monkeypatch):
    queue = OpenVinoQueue(engines.OpenVino("classifier", "openvino", "bf16"), "all")
    every = groups.engines("classifier") | {
        "pipeline bf16, batches of 32": Pipeline(True, "all"),
        "OpenVINO bf16, its queue": queue,
    }
    monkeypatch.setattr(machine, "features", lambda: ("avx2", "avx512_vnni"))
    gone = groups.left_out(every)
    assert list(gone) == ["PyTorch bf16", "torch.compile bf16", "pipeline bf16"]
    assert "no instructions for it" in gone["PyTorch bf16"]
    monkeypatch.setattr(machine, "features", lambda: ("avx2", "avx512_bf16"))
    assert groups.left_out(every) == {}
