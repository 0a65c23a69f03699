"""The service alone: it imports only what ``[serve]`` installs, and its image is sound."""

import ast
import json
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import httpx
import pytest
from service import publish

from benchmarks.servers import free_port
from tutorial_utils import cli
from tutorial_utils.serving import settings

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = {
    "torch", "transformers", "onnx", "scipy", "matplotlib", "sklearn", "httpx", "IPython", "ray",
}  # fmt: skip
# Imported only on request: by the provider OpenVINO, TUTORIAL_SOURCE=hub, and the service on many
# machines.
OPTIONAL = {"onnxruntime_ep_openvino", "huggingface_hub", "ray"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_each_import_of_the_service_is_a_dependency_of_the_base_or_of_serve():
    graph = grimp.build_graph("tutorial_utils", include_external_packages=True)
    reached = graph.find_upstream_modules("tutorial_utils.serving", as_package=True)
    external = {name.split(".")[0] for name in reached if graph.is_module_squashed(name)}
    assert {"fastapi", "onnxruntime", "tokenizers", "uvicorn"} <= external
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["serve"]
    declared = {normal(re.match(r"[\w-]+", line)[0]) for line in lines}
    provided = packages_distributions()
    missing = {
        package
        for package in external - OPTIONAL - set(sys.stdlib_module_names)
        if not {normal(name) for name in provided.get(package, ())} & declared
    }
    assert missing == set()


SERVE = """
import sys
from tutorial_utils import cli
code = cli.main(["serve", *sys.argv[1:]])
print(sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM on Windows")
def test_a_server_has_loaded_no_heavy_package_after_an_answer(tmp_path):
    publish(tmp_path / "registry")
    port = free_port()
    flags = ["--registry", tmp_path / "registry", "--port", str(port), "--grace", "0"]
    command = [sys.executable, "-c", SERVE, *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    try:
        end = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/predict"):
            assert time.monotonic() < end
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    loaded = set(ast.literal_eval(printed.strip().splitlines()[-1]))
    assert {"onnxruntime", "tokenizers", "uvicorn"} <= loaded
    assert loaded & HEAVY == set()


def answers(url: str) -> bool:
    try:
        return httpx.post(url, json={"texts": ["fine"]}).status_code == 200
    except httpx.TransportError:
        return False


WRONG = {
    "no registry": ([], {}, "--registry (or SERVE_REGISTRY): Field required"),
    "no number": (["--registry", ".", "--port", "x"], {}, "--port (or SERVE_PORT)"),
    "a path for a version": (["--registry", "."], {"SERVE_VERSION": "../1"}, "SERVE_VERSION"),
    "no such flag": (["--registry", ".", "--nothing", "1"], {}, "--nothing"),
    "an empty registry": (["--registry", "."], {}, "publish"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_error_for_a_wrong_setting_names_its_flag_and_variable(
    fault, tmp_path, monkeypatch, capsys
):
    flags, variables, message = WRONG[fault]
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        code = cli.main(["serve", *flags])
    except SystemExit as exited:  # argparse prints its usage too
        code = exited.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_flag_overrides_its_variable_and_help_lists_all_flags(monkeypatch, capsys):
    monkeypatch.setenv("SERVE_MAX_TEXTS", "16")
    monkeypatch.setenv("SERVE_REGISTRY", "registry_path")
    assert settings.parse([]).max_texts == 16
    assert settings.parse(["--max-texts", "8"]).max_texts == 8
    assert settings.parse([]).host == "127.0.0.1"
    with pytest.raises(SystemExit) as exited:
        cli.main(["serve", "--help"])
    assert exited.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in printed for name in settings.Settings.model_fields)


@pytest.mark.parametrize("file", ["Dockerfile", "docker/gpu/Dockerfile", "README.md"])
def test_the_examples_serve_the_model_that_they_write(file):
    text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n#", "")
    lines = re.findall(r"^(?:#  |   ) ((?:python|docker) .*)", text, re.M)
    commands = [shlex.split(line) for line in lines]
    package = [c[3:] for c in commands if c[:3] == ["python", "-m", "tutorial_utils"]]
    made = [cli._parser().parse_args(c) for c in package if c[0] == "optimize"]
    (written,) = {each.registry or each.out / "registry" for each in made}
    (name,) = {each.model for each in made}
    if file == "README.md":
        (flags,) = [c[1:] for c in package if c[0] == "serve"]
        given = settings.parse(flags)
        assert (given.registry, given.model) == (written, None)  # the only model there is
        return
    build, run = (c for c in commands if c[0] == "docker")
    at = run.index(build[build.index("-t") + 1])
    assert run[run.index("-v") + 1] == f"$PWD/{written.as_posix()}:/registry:ro"
    assert settings.parse(["--registry", "/registry", *run[at + 1 :]]).model == name
    assert ("-f" in build) == ("--gpus" in run) == ("gpu" in file)
    assert {each.provider for each in made} == {"cuda" if "gpu" in file else "cpu"}


@pytest.mark.parametrize(
    ("file", "installed"), [("Dockerfile", "serve"), ("docker/gpu/Dockerfile", "serve,gpu")]
)
def test_an_image_passes_the_linter_does_not_run_as_root_and_installs_what_it_needs(
    file, installed
):
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [hadolint, "--failure-threshold=style", ROOT / file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (ROOT / file).read_text()
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER (?!0|root)\d+", last, re.M)
    assert re.findall(r"'\.\[(.*)\]'", text) == [installed]
    assert re.search(r"^HEALTHCHECK .*\\\n.*/readyz", last, re.M)
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", last, re.M)
    python, _, package, command, *flags = json.loads(entry)
    assert (python, package, command) == ("python", "tutorial_utils", "serve")
    assert settings.parse(flags).host == "0.0.0.0"
    (version,) = set(re.findall(r"FROM python:([\d.]+)-slim", text))
    assert PROJECT["requires-python"] == f"=={version}.*"
