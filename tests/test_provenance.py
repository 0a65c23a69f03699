"""A kept result is stale when its code or a library changed, and at no other time."""

import importlib
import sys
from pathlib import Path

import pytest

from tutorial_utils.bench import timer
from tutorial_utils.core import provenance
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.graph import export, fusion
from tutorial_utils.lessons import measure, pipeline
from tutorial_utils.models import finetuning

FILES = {
    "__init__": "",
    "build": '''
        """Builds."""
        import numpy
        from sample import helper
        from sample.parts import nail
        from sample.twins import one as chosen

        SIZE = 3
        OTHER = 4

        def build(size=SIZE):
            """Build it."""
            return numpy.zeros(size), later(), helper.help(), chosen()

        def later():
            from sample import lazy
            return lazy.rest() + nail.COUNT

        def unused():
            return OTHER
    ''',
    "helper": "def help():\n    # why\n    return 1\n",
    "lazy": "import psutil\nfrom sample.parts import screw\ndef rest():\n    return 1 + screw()\n",
    "twins": "def one():\n    return 1\n\ndef two():\n    return 2\n",
    "apart": "def nothing():\n    return 1\n",
    "parts/__init__": "def screw():\n    return 1\n",
    "parts/nail": "COUNT = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package on disk; ``change`` edits a file and returns the provenance of ``build``."""
    folder = tmp_path / "sample"
    (folder / "parts").mkdir(parents=True)
    for name, text in FILES.items():
        lines = [line.removeprefix(" " * 8) for line in text.splitlines()]
        (folder / f"{name}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    build = importlib.import_module("sample.build").build

    def change(name="build", old="", new=""):
        file: Path = folder / f"{name}.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new) if old else text)
        provenance.of.cache_clear()
        return provenance.of(build)

    yield change
    provenance.of.cache_clear()
    for name in [n for n in sys.modules if n.split(".")[0] == "sample"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("build", "SIZE = 3", "SIZE = 4"),
        ("build", "nail.COUNT", "nail.COUNT * 2"),
        ("helper", "return 1", "return 2"),
        ("lazy", "1 + screw", "2 + screw"),
        ("parts/__init__", "return 1", "return 2"),
        ("parts/nail", "COUNT = 1", "COUNT = 2"),
        ("build", "import one as chosen", "import two as chosen"),
    ],
)
def test_code_that_is_used_however_far_away_counts(name, old, new, package):
    before = package()
    assert package(name, old, new).code != before.code


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("build", "Build it.", "Make it."),
        ("build", "OTHER = 4", "OTHER = 5"),
        ("helper", "# why", "# because"),
        ("helper", "    # why\n", '    """Help."""\n'),
        ("apart", "return 1", "return 2"),
    ],
)
def test_prose_and_code_that_is_not_used_do_not(name, old, new, package):
    before = package()
    assert package(name, old, new) == before


def test_libraries_are_those_imported_anywhere_with_their_versions(package, monkeypatch):
    before = package()
    assert set(before.libraries) == {"numpy", "psutil"}
    monkeypatch.setattr(provenance.importlib.metadata, "version", lambda name: "0")
    assert package().libraries == {"numpy": "0", "psutil": "0"}


def test_what_is_not_at_the_top_of_a_module_is_refused():
    with pytest.raises(InvalidArgument, match="not at the top level"):
        provenance.of(lambda: 1)


@pytest.mark.parametrize(
    ("builds", "libraries"),
    [
        (pipeline._export, {"torch", "transformers", "onnxscript"}),
        (pipeline._fuse, {"onnx", "onnx-ir", "onnxscript"}),
        (pipeline._quantize, {"onnx", "tokenizers"}),
        (finetuning._train, {"torch", "transformers", "tokenizers"}),
        (measure._answers_of_pytorch, {"torch", "transformers"}),
    ],
)
def test_the_libraries_that_build_a_step_are_found(builds, libraries):
    assert libraries <= set(provenance.of(builds).libraries)


def test_another_library_makes_a_built_file_stale(tmp_path, monkeypatch):
    before = pipeline._stamp("exported", tmp_path, "bert-base")
    real = provenance.importlib.metadata.version
    monkeypatch.setattr(
        provenance.importlib.metadata,
        "version",
        lambda name: "9" if name == "onnxscript" else real(name),
    )
    provenance.of.cache_clear()
    assert pipeline._stamp("exported", tmp_path, "bert-base") != before
    provenance.of.cache_clear()


def test_the_timer_and_the_exporter_are_apart():
    assert provenance.of(timer.compare) != provenance.of(export.export)
    assert provenance.of(fusion.fuse, export.export).code != provenance.of(export.export).code
