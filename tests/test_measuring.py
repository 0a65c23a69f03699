"""The simulation for docs/measuring.md, and stored runs of a candidate with itself."""

import json
import time
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks import aa, interval_coverage
from benchmarks.interval_coverage import Residuals, coverage, kinds, passed

RESIDUALS = Residuals.stored()


@dataclass(frozen=True)
class Sleep:
    items: int = 1

    def build(self):
        return lambda: time.sleep(0.002)


@pytest.mark.parametrize("rounds", interval_coverage.ROUNDS)
@pytest.mark.parametrize("kind", kinds(RESIDUALS))
def test_the_interval_covers_at_least_93_percent(kind, rounds):
    assert coverage(kinds(RESIDUALS)[kind], rounds, draws=5_000) >= 0.93


def test_the_simulation_detects_an_interval_that_is_too_narrow():
    noise = kinds(RESIDUALS)["stored residuals, within a comparison"]
    assert coverage(noise, 5, quantile=0.9) < 0.93


def test_a_slow_version_fails_at_any_noise_and_an_equal_one_passes_with_little_noise():
    shapes = RESIDUALS.shapes()
    for spread in (0.01, 0.03, 0.1):
        assert passed(1.10, spread, 5, shapes) <= 0.02
    assert passed(1.00, 0.03, 7, shapes) >= 0.95


def test_the_correlation_of_rounds_is_estimated():
    draw = np.random.default_rng(0)
    tables = [interval_coverage._correlated(draw, 500, 9, by=0.3) for _ in range(4)]
    tables = tuple(table - table.mean(axis=1, keepdims=True) for table in tables)
    assert Residuals(tables).neighbours() == pytest.approx(0.3, abs=0.03)


def test_the_document_matches_the_stored_rounds():
    written = interval_coverage.DOCUMENT.read_text(encoding="utf-8")
    assert written == interval_coverage.markdown()


def test_a_run_of_a_candidate_with_itself_has_its_rounds_and_a_summary(tmp_path):
    found = aa.compare(Sleep(), runs=1, rounds=3, seconds=0.01)
    file = tmp_path / "machine" / "aa.json"
    file.parent.mkdir()
    file.write_text(json.dumps(found))
    assert [len(run["times"]["first"]) for run in found["runs"]] == [3]
    found["runs"] = [{"ratio": 1.2, "low": 1.1, "high": 1.3}, {"ratio": 1, "low": 0.9, "high": 1.1}]
    file.write_text(json.dumps(found))
    said = interval_coverage.same_twice(file)
    assert said == (
        "machine: 2 runs of 3 rounds. Intervals without 1: 1. Verdicts: 1. "
        "Ratio furthest from 1: 1.20 [1.10, 1.30]."
    )
