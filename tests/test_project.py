"""The project as a whole: consistent versions, no traces of a machine, telemetry off."""

import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
import tiny_models
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
ENVIRONMENT = (ROOT / "environment.yml").read_text(encoding="utf-8")


def requirements() -> dict[str, str]:
    """Package → range, of all extras that are installed for learning and testing."""
    extras = PROJECT["optional-dependencies"]
    chosen = ("learn", "serve", "scale", "test")
    lines = PROJECT["dependencies"] + [line for name in chosen for line in extras[name]]
    return {m[1]: m[2] for m in (re.match(r"([\w-]+)(?:\[\w+\])?([^;]*)", line) for line in lines)}


def pins() -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s#]+)", CONSTRAINTS, re.M))


@pytest.mark.parametrize("package", sorted(requirements()))
def test_the_tested_version_of_each_package_is_in_its_range(package):
    from packaging.specifiers import SpecifierSet

    if package == "netron":  # does not start half a year after its release, so it is never pinned
        assert package not in pins()
        assert "==" not in requirements()[package]
    else:
        assert pins()[package] in SpecifierSet(requirements()[package].strip())


def test_torch_is_pinned_exactly_and_both_onnxruntimes_have_the_same_version():
    assert pins()["torch"] == "2.13.0"
    assert pins()["onnxruntime"] == pins()["onnxruntime-gpu"]


def test_the_installed_versions_are_the_pinned_ones():
    from importlib.metadata import version

    wrong = {n: version(n) for n in ("torch", "onnx", "transformers", "onnxscript", "nbval")
             if version(n).split("+")[0] != pins()[n]}  # fmt: skip
    assert wrong == {}


def test_conda_uses_the_same_ranges_constraints_and_python():
    assert "--constraint constraints.txt" in ENVIRONMENT
    assert "--editable .[learn,serve,scale,test]" in ENVIRONMENT
    (python,) = re.findall(r"python=(\S+)", ENVIRONMENT)
    assert PROJECT["requires-python"] == f"=={python}.*"
    makefile = (ROOT / "Makefile").read_text()
    assert "--constraint constraints.txt --editable '.[learn,serve,scale,test]'" in makefile


def test_the_tested_versions_run_on_every_python_3_11():
    """Debian 12 has 3.11.2, and pip searches for minutes before it gives up on such a version."""
    needed = {}
    for name in re.findall(r"^([\w.-]+)==", CONSTRAINTS, re.MULTILINE):
        with suppress(metadata.PackageNotFoundError):  # only other tools need it
            needed[name] = metadata.metadata(name)["Requires-Python"] or ""
    assert len(needed) > 100
    assert [n for n, r in needed.items() if not SpecifierSet(r).contains("3.11.0")] == []


def test_every_pin_says_what_needs_it():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pinned = [line for line in text.splitlines() if re.match(r'\s+"[\w-]+[><=]', line)]
    assert len(pinned) > 20
    assert [line for line in pinned if "#" not in line] == []


def test_the_server_needs_neither_torch_nor_transformers_nor_onnx(tmp_path):
    tiny_models.add(tmp_path, tiny_models.classifier())
    code = (
        "import sys\n"
        "heavy = {'torch', 'transformers', 'onnx', 'scipy', 'matplotlib', 'pandas'}\n"
        "sys.modules.update(dict.fromkeys(heavy))  # importing one of them raises\n"
        "from tutorial_utils import cli\n"
        "from tutorial_utils.serving import settings\n"
        "from tutorial_utils.serving.process import server\n"
        "app = server.app.create(settings.Settings(registry=sys.argv[1]))\n"
        "import asyncio; asyncio.run(app.deployment.close())\n"
        "print('tutorial_utils.lessons.pipeline' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_telemetry_is_off_before_onnxruntime_loads():
    code = (
        "import os, sys; os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "import tutorial_utils; assert 'onnxruntime' not in sys.modules\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "1"


def test_no_file_contains_paths_of_the_machine_it_was_written_on():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    # The patterns are split, so that this file does not match itself.
    forbidden = re.compile(
        "/ro" + "ot/|/wo" + "rk/|/ho" + r"me/\w|py" + r"pi\.org|/opt/wh" + "eels"
    )
    files = [ROOT / name for name in listed.split()]
    assert files
    found = [
        path.name
        for path in files
        if path.is_file() and path.suffix not in (".png", ".pdf")
        and forbidden.search(path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert found == []
