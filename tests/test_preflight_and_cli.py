import json
import re
from dataclasses import fields

import nbformat
import pytest

from tutorial_utils import cli
from tutorial_utils.lessons import ledger, notebooks, preflight
from tutorial_utils.lessons.preflight import Check
from tutorial_utils.optimize import gate


def test_a_machine_that_runs_these_tests_passes(capsys):
    assert cli.main(["check", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in results] == list(preflight.CHECKS)
    assert {r["level"] for r in results} <= {"OK", "WARN"}
    inference = next(r for r in results if r["name"] == "export and inference")
    assert inference["level"] == "OK"


def test_a_failure_is_printed_with_its_fix_and_has_an_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(preflight, "CHECKS", {"memory": preflight._memory})
    monkeypatch.setattr(preflight, "MEMORY_GB", 10**6)
    assert cli.main(["check"]) == 2
    assert capsys.readouterr().out.startswith("FAIL  memory")
    (result,) = preflight.run()
    assert "Free 1000000 GB" in str(result)


def test_two_onnxruntimes_fail_with_the_fix(monkeypatch):
    class Distribution:
        def __init__(self, name):
            self.metadata = {"Name": name}

    both = [Distribution("onnxruntime"), Distribution("onnxruntime-gpu"), Distribution("torch")]
    monkeypatch.setattr(preflight.importlib.metadata, "distributions", lambda: both)
    level, found, fix = preflight._one_onnxruntime()
    assert level == "FAIL"
    assert found == "onnxruntime and onnxruntime-gpu"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in fix


def test_another_python_and_other_versions_are_reported(monkeypatch):
    monkeypatch.setattr(preflight, "PYTHON", (3, 8))
    assert preflight._interpreter()[0] == "FAIL"
    monkeypatch.setattr(preflight, "constraints", lambda: {"torch": "1.0"})
    level, found, _ = preflight._versions()
    assert level == "WARN"
    assert "tested: 1.0" in found


def test_a_check_that_raises_is_a_failure_and_the_others_run(monkeypatch):
    def broken():
        raise OSError("no such device")

    monkeypatch.setattr(preflight, "CHECKS", {"one": broken, "two": lambda: ("OK", "fine", "")})
    first, second = preflight.run()
    assert (first.level, first.found) == ("FAIL", "OSError: no such device")
    assert first.fix
    assert second == Check("two", "OK", "fine")
    assert not preflight.passed([first, second])


def test_the_constraints_are_read():
    assert preflight.constraints()["torch"] == "2.13.0"


def test_providers_are_those_that_load(monkeypatch):
    from tutorial_utils.runtime import session

    monkeypatch.setattr(
        session, "provider_problem", lambda name: None if name == "cpu" else f"{name} is broken"
    )
    level, found, _ = preflight._providers()
    assert level == "OK"
    assert found.startswith("load: cpu;")
    assert "cuda is broken" in found


def test_an_empty_ledger_is_an_error_and_a_full_one_is_drawn(capsys, tmp_path):
    assert cli.main(["ledger"]) == 2
    assert "The ledger is empty" in capsys.readouterr().err
    ledger.record(ledger.Row("pytorch", 0, 100.0, 50.0, 438.0, 0.88, 1.0, "a machine", {}))
    assert cli.main(["ledger", "--figure", str(tmp_path / "ledger.png")]) == 0
    assert "a machine" in capsys.readouterr().out
    assert (tmp_path / "ledger.png").read_bytes().startswith(b"\x89PNG")


def test_a_mistake_is_one_line_and_code_2(capsys):
    assert cli.main(["bench", "nothing"]) == 2
    assert "no step 'nothing'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["fly"])


def test_a_notebook_is_executed_and_its_kernel_prints_nothing(tmp_path, capfd):
    source, target = tmp_path / "source.md", tmp_path / "run" / "target.ipynb"
    source.write_text("# A lesson\n\n```python\n1 + 1\n```\n", encoding="utf-8")
    notebooks.execute(notebooks.read_source(source), target)
    _, cell = nbformat.read(target, as_version=4).cells
    assert (cell.execution_count, cell.outputs[0]["data"]["text/plain"]) == (1, "2")
    assert capfd.readouterr() == ("", "")


def test_each_lesson_is_one_line(monkeypatch, tmp_path, capfd):
    source = tmp_path / "source.md"
    source.write_text("# A lesson\n\n```python\nprint(1)\n```\n", encoding="utf-8")
    lessons = [tmp_path / "00_first.ipynb", tmp_path / "01_second.ipynb"]
    monkeypatch.setattr(notebooks, "find", lambda names: lessons)
    monkeypatch.setattr(notebooks, "source_of", lambda lesson: source)
    assert cli.main(["notebooks", "--into", str(tmp_path / "run")]) == 0
    told, complaints = capfd.readouterr()
    assert re.fullmatch(r"00_first … \d+ s\n01_second … \d+ s\n", told)
    assert complaints == ""


def test_the_command_has_the_limits_of_the_gate():
    flags = {field: default for field, (_, default, _) in cli.LIMITS.items()}
    limits = {limit.name: limit.default for limit in fields(gate.Limits)}
    assert flags | {"certain": False} == limits
