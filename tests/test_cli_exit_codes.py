"""Exit codes: a program can distinguish a refusal from a wrong input and from a fault."""

import re
import traceback
from pathlib import Path

import pytest

import tutorial_utils
from tutorial_utils import cli, optimize
from tutorial_utils.bench import timer
from tutorial_utils.core.errors import TutorialError

OPTIMIZE = ["optimize", "model", "--out", "out"]


@pytest.fixture
def raising(monkeypatch, tmp_path):
    """Makes a command raise what it is given."""
    monkeypatch.setattr(cli.tempfile, "tempdir", str(tmp_path))

    def set_error(error: BaseException, command: str = "optimize") -> None:
        def fail(options):
            raise error

        monkeypatch.setattr(cli, f"_{command}", fail)

    return set_error


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), TypeError("two\nlines"), ImportError("no name"), IndexError(), ValueError("?"),
     RuntimeError("?"), AssertionError(), timer.CandidateFailed("'a' failed:\nTraceback")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_fault_is_code_3_one_line_and_a_file_with_the_traceback(error, raising, capsys, tmp_path):
    raising(error)
    assert cli.main(OPTIMIZE) == 3
    (line,) = capsys.readouterr().err.splitlines()
    (file,) = tmp_path.iterdir()
    assert line.endswith(str(file))
    assert type(error).__name__ in line
    assert file.read_text() == "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), MemoryError("no room"), TutorialError("fix it"),
     timer.CandidateKilled("'a' ended")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_error_that_the_user_can_fix_is_code_2_and_one_line(error, raising, capsys, tmp_path):
    raising(error)
    assert cli.main(OPTIMIZE) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{type(error).__name__}: {error}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "limit",
    ["--min-agreement 2", "--max-latency -1", "--rounds 1", "--seconds 0", "--max-texts 3",
     "--max-size nan", "--seconds nan"],
)  # fmt: skip
def test_a_limit_that_nothing_can_meet_is_code_2_before_anything_runs(limit, capsys):
    assert cli.main([*OPTIMIZE, *limit.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("InvalidArgument: ")


@pytest.mark.parametrize(("command", "extra"), [("optimize", "learn"), ("serve", "serve")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(command, extra, raising, capsys):
    raising(ModuleNotFoundError("No module named 'a'", name="a.b"), command)
    assert cli.main([command, *OPTIMIZE[1:]] if command == "optimize" else [command]) == 2
    wanted = f"`{command}` needs a, which is not installed"
    assert capsys.readouterr().err.startswith(wanted + f': pip install ".[{extra}]"')


def test_a_missing_module_of_this_package_is_a_fault(raising):
    raising(ModuleNotFoundError("…", name="tutorial_utils.nothing"))
    assert cli.main(OPTIMIZE) == 3


def test_an_interrupt_is_code_130_and_one_line(raising, capsys):
    raising(KeyboardInterrupt())
    assert cli.main(OPTIMIZE) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize(
    ("flags", "effort"),
    [
        ([], (7, 0.3, 4_000, True)),
        (["--quick"], (5, 0.1, 2_000, False)),
        (["--quick", "--rounds", "9"], (9, 0.1, 2_000, False)),
        (["--quick", "--seconds", "2", "--max-texts", "50"], (5, 2, 50, False)),
        (["--rounds", "3", "--max-texts", "4000"], (3, 0.3, 4_000, True)),
    ],
)
def test_flags_take_precedence_over_quick(flags, effort, monkeypatch):
    seen = {}

    def stop(*_, **given):
        seen.update(given)
        raise TutorialError("enough")

    monkeypatch.setattr(optimize, "optimize", stop)
    assert cli.main(OPTIMIZE + flags) == 2
    assert seen["effort"] == optimize.Effort(*effort)


def test_every_error_class_of_the_package_derives_from_tutorial_error():
    """Found in the source: some modules need extras that are not installed everywhere."""
    bare = re.compile(r"^class (\w+)\((?:\w*Error|Exception)\):", re.M)
    raised = re.compile(r"raise (RuntimeError|KeyError|TypeError|Exception|LookupError)\(")
    files = sorted(Path(tutorial_utils.__file__).parent.rglob("*.py"))
    classes = {name for file in files for name in bare.findall(file.read_text("utf-8"))}
    known = {"TutorialError", "CandidateKilled", "Unavailable"}
    assert classes - known == set()
    assert [file.name for file in files if raised.search(file.read_text("utf-8"))] == []
