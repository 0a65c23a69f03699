"""The files that ``optimize`` writes: 7-bit weights where they are needed."""

import platform
from dataclasses import replace

import pytest
from test_optimize import command, fixed_times

from tutorial_utils import cli, registry
from tutorial_utils.core import machine
from tutorial_utils.runtime.session import EXACT


@pytest.fixture
def clock(monkeypatch):
    return fixed_times(monkeypatch)


@pytest.mark.parametrize(("feature", "config"), [("avx2", {EXACT: "0"}), ("avx512_vnni", {})])
def test_the_report_and_the_recipe_tell_of_7_bit_weights(
    feature, config, clock, tmp_path, monkeypatch
):
    here = replace(machine.describe(), features=(feature,))
    monkeypatch.setattr(machine, "describe", lambda: here)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert cli.main(command(tmp_path, "--min-agreement", "0.9")) == 0
    model = registry.load(tmp_path / "out" / "registry", "model")
    assert model.form.precision == "int8"
    assert model.recipe.session.config == config
    report = (tmp_path / "out" / "report.md").read_text()
    assert ("weights have 7 bits" in report) == bool(config)
