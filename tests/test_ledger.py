"""The ledger: rows survive updates, older formats, concurrent writers and killed writers."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.lessons import figures, ledger

ROW = ledger.Row(
    step="pytorch", position=0, latency_ms=100.0, texts_per_s=50.0,
    size_mb=438.0, f1=0.88, agreement=1.0, machine="here", versions={"torch": "2"},
)  # fmt: skip
FASTER = replace(
    ROW, step="int8", position=3, latency_ms=25.0, texts_per_s=100.0,
    latency=Ratio(0.25, 0.24, 0.26), labelling=Ratio(0.5, 0.4, 1.1), latency_verdict="faster",
    throughput_verdict="no measurable difference",
)  # fmt: skip


def test_rows_are_read_unchanged_with_a_time_and_in_the_order_of_the_steps(tmp_path):
    file = tmp_path / "ledger.json"
    ledger.record(FASTER, file)
    ledger.record(ROW, file)
    rows = ledger.rows_of(file)
    assert [row.step for row in rows] == ["pytorch", "int8"]
    assert tuple(replace(row, time="") for row in rows) == (ROW, FASTER)
    assert all(row.time for row in rows)


def test_milliseconds_and_rates_are_pytorch_s_times_the_factor_measured_beside_it(tmp_path):
    file = tmp_path / "ledger.json"
    drifted = replace(FASTER, latency_ms=33.0, texts_per_s=70.0)  # the machine was slower meanwhile
    ledger.record(drifted, file)
    (alone,) = ledger.rows_of(file)
    assert (alone.latency_ms, alone.texts_per_s) == (33.0, 70.0)  # nothing to be relative to
    ledger.record(ROW, file)
    for _ in range(2):  # reading and writing again changes nothing
        _, row = ledger.rows_of(file)
        assert (row.latency_ms, row.texts_per_s) == (100.0 * 0.25, 50.0 / 0.5)
        ledger.record(ROW, file)


def test_a_step_measured_again_replaces_its_row(tmp_path):
    file = tmp_path / "ledger.json"
    ledger.record(ROW, file)
    ledger.record(replace(ROW, latency_ms=90.0), file)
    assert [row.latency_ms for row in ledger.rows_of(file)] == [90.0]


def test_an_earlier_ledger_is_kept_in_its_own_file(tmp_path):
    file = tmp_path / "ledger.json"
    ledger.set_aside(file)
    ledger.record(ROW, file)
    ledger.set_aside(file)
    assert ledger.rows_of(file) == ()
    assert [row.step for row in ledger.rows_of(tmp_path / "ledger.before.json")] == ["pytorch"]


@pytest.mark.parametrize(
    "other",
    ['[{"step": "pytorch", "latency_ratio": 1.0}]', '{"rows": [{}]}', '{"kept": []}', '[{"step": '],
)
def test_a_damaged_ledger_or_one_of_another_version_is_set_aside_with_one_message(
    other, tmp_path, capsys
):
    file = tmp_path / "ledger.json"
    assert ledger.rows_of(file) == ()
    file.write_text(other)
    assert ledger.rows_of(file) == ()
    assert "another version" in capsys.readouterr().err
    ledger.record(ROW, file)
    assert [row.step for row in ledger.rows_of(file)] == ["pytorch"]
    assert capsys.readouterr().err == ""
    assert (tmp_path / "ledger.before.json").read_text() == other


def test_the_table_says_which_steps_pay_off():
    loses = replace(
        ROW, step="fused", position=2, latency_verdict="slower",
        throughput_verdict="slower",
    )  # fmt: skip
    assert [ledger.pays(row) for row in (ROW, FASTER, loses)] == [
        "reference",
        "yes: latency",
        "no; costs latency and throughput",
    ]
    assert "4 [3.85, 4.17]" in str(ledger.table((ROW, FASTER)))


def test_the_figure_shows_the_verdicts():
    fig = figures.ledger((ROW, FASTER))
    texts = [t.get_text() for axis in fig.axes for t in axis.texts]
    assert any("0.25 × PyTorch" in text for text in texts)
    assert any("no measurable difference" in text for text in texts)


def _write(file, step):
    for i in range(20):
        ledger.record(replace(ROW, step=step, latency_ms=float(i)), file)


def test_concurrent_writers_lose_no_row(tmp_path):
    file = tmp_path / "ledger.json"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(file, f"step {i}")) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = ledger.rows_of(file)
    assert sorted(row.step for row in rows) == [f"step {i}" for i in range(4)]
    assert {row.latency_ms for row in rows} == {19.0}


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_writer_leaves_a_complete_ledger_that_others_can_write_to(tmp_path):
    file = tmp_path / "ledger.json"
    ledger.record(ROW, file)
    code = (
        "import sys, dataclasses; from pathlib import Path\n"
        "from tutorial_utils.lessons import ledger\n"
        "row = ledger.rows_of(Path(sys.argv[1]))[0]\n"
        "while True: ledger.record(dataclasses.replace(row, step='other'), Path(sys.argv[1]))"
    )
    for delay in (0.05, 0.11, 0.17):
        writer = subprocess.Popen([sys.executable, "-c", code, str(file)])
        deadline = time.monotonic() + 120
        while len(ledger.rows_of(file)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert {row.step for row in ledger.rows_of(file)} == {"pytorch", "other"}
        file.unlink()
        ledger.record(ROW, file)
        assert len(ledger.rows_of(file)) == 1
