"""The calls that the documentation shows, sent by its own commands to real services."""

import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from served_tasks import Served
from service import running

from tutorial_utils.serving.settings import Settings

PAGE = (Path(__file__).parents[1] / "docs" / "your-own-model.md").read_text(encoding="utf-8")
# Each command with the answer below it; a backslash continues a line.
CALLS = re.findall(r"^    \$ (curl (?:.*\\\n)*.*)\n((?:    (?!\$).*\n)+)", PAGE, re.M)
ADDRESS = "127.0.0.1:8000"  # of `serve`, by default


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Kind of model → port of a service that holds one under the name that the page uses."""
    models = {
        "text": Served("model", "single_label", ("negative", "positive")),
        "pair": Served("model", "single_label", ("false", "true"), "pair"),
        "vector": Served("model", "embedding", (), width=5),
    }
    with ExitStack() as stack:
        ports = {}
        for kind, model in models.items():
            registry = tmp_path_factory.mktemp(kind)
            model.publish(registry)
            ports[kind] = stack.enter_context(running(Settings(registry=registry, watch=0))).port
        yield ports


def kind_of(command: str) -> str:
    return "vector" if "/embed" in command else "pair" if "[[" in command else "text"


def test_the_page_shows_a_call_of_each_kind():
    assert [kind_of(command) for command, _ in CALLS] == ["text", "pair", "vector", "text"]
    assert all(ADDRESS in command for command, _ in CALLS)
    assert f"{Settings(registry='.').host}:{Settings(registry='.').port}" == ADDRESS


@pytest.mark.parametrize(("command", "shown"), CALLS)
def test_its_command_is_answered_with_the_fields_that_are_shown(ports, command, shown):
    here = command.replace(ADDRESS, f"127.0.0.1:{ports[kind_of(command)]}")
    silent = here.replace("curl ", "curl --silent --show-error --fail ", 1)
    done = subprocess.run(["bash", "-c", silent], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    fields = r'"(\w+)":'
    answered, named = re.findall(fields, done.stdout), re.findall(fields, shown)
    assert set(named) <= set(answered)
    whole = not shown.lstrip().startswith("{…")
    skipped = {"negative", "positive"}  # inside of "probabilities":{…}
    assert not whole or list(dict.fromkeys(named)) == [
        name for name in dict.fromkeys(answered) if name not in skipped
    ]
    if "embed" in command:
        return
    labels = re.findall(r'"label":"(\w+)"|"data":\["(\w+)"\]', shown)
    answer = json.loads(done.stdout)
    found = answer.get("predictions") or answer["outputs"][0]["data"]
    assert len(found) == len(labels), "an answer for each text"
