"""The challenge's scoreboard: what is refused, how entries are judged, ranked and kept."""

import json
import threading

import numpy as np
import onnx
import pytest

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.data import reviews
from tutorial_utils.lessons import measure, pipeline, progress, scoreboard
from tutorial_utils.lessons.scoreboard import BadEntry, Entry, enter, entries, table
from tutorial_utils.runtime.recipe import Recipe

SAME = Ratio(1.0, 0.98, 1.02)
TEXTS = tuple(f"text {i}" for i in range(200))


def entry(name, time=SAME, **other):
    return Entry(name, 23.0, 0.88, 0.99, time, **other)


@pytest.fixture
def measured(monkeypatch, tiny_onnx):
    """Sentences and times without the data of the course; yields what can be changed."""
    given = {"time": SAME, "answers": np.arange(200) % 2}
    labels = np.arange(len(TEXTS)) % 2
    sentences = reviews.Reviews(TEXTS, labels, 4.0 * labels - 2)
    monkeypatch.setattr(measure, "sentences", lambda: sentences)
    monkeypatch.setattr(measure, "predictions", lambda step, first=None: np.arange(first) % 2)
    monkeypatch.setattr(scoreboard, "label", lambda texts, predict, **how: given["answers"])
    monkeypatch.setattr(scoreboard, "_time", lambda *_: given["time"])
    monkeypatch.setattr(pipeline, "ensure", lambda step: tiny_onnx)
    return given


def test_an_entry_that_meets_every_limit_passes_and_outlives_the_kernel(measured, tiny_onnx):
    made = enter("mine", tiny_onnx)
    assert made.verdict == "passed"
    assert (made.f1, made.agreement) == (1.0, 1.0)
    assert entries() == (made,)
    stored = json.loads((progress.folder() / "scoreboard.json").read_text(encoding="utf-8"))
    assert stored["entries"]["mine"]["time"]["ratio"] == 1.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answers": np.arange(200) % 2 ^ (np.arange(200) < 20)}, "agreement"),
        ({"time": Ratio(1.5, 1.4, 1.6)}, "latency against the reference"),
        ({"time": Ratio(1.0, 0.7, 1.4)}, "too noisy"),
    ],
)
def test_what_misses_a_limit_is_kept_and_named(measured, tiny_onnx, change, told):
    measured.update(change)
    made = enter("mine", tiny_onnx)
    assert told in made.verdict
    assert told in str(table())


def test_the_table_ranks_those_that_passed_by_their_time():
    for made in (
        entry("reference"),
        entry("quick", Ratio(0.8, 0.7, 0.9)),
        entry("wrong", Ratio(0.1, 0.1, 0.1), missed=("agreement with PyTorch: 60 %",)),
    ):
        scoreboard._keep(made)
    assert [e.name for e in entries()] == ["quick", "reference", "wrong"]
    assert [row[:2] for row in table().rows] == [("1", "quick"), ("2", "reference"), ("–", "wrong")]


def test_an_entry_replaces_an_older_one_of_its_name(measured, tiny_onnx):
    enter("mine", tiny_onnx)
    measured["time"] = Ratio(0.5, 0.4, 0.6)
    enter("mine", tiny_onnx)
    assert [e.time.ratio for e in entries()] == [0.5]


def test_two_writers_lose_no_entry_of_each_other():
    def write(letter):
        for number in range(10):
            scoreboard._keep(entry(f"{letter}{number}"))

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(entries()) == 20


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"entries": 3}', b"\xff"])
def test_a_damaged_file_is_kept_and_said(content, capsys):
    file = progress.folder() / "scoreboard.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    scoreboard._keep(entry("mine"))
    assert [e.name for e in entries()] == ["mine"]
    assert file.with_suffix(".before.json").read_bytes() == content
    assert "scoreboard.before.json" in capsys.readouterr().err


def parsed(tmp_path, inputs, body):
    text = f'<ir_version: 10, opset_import: ["" : 18]> g ({inputs}) => (float[N, 2] logits) {body}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_file_that_is_missing_or_no_model_is_refused(tmp_path):
    with pytest.raises(BadEntry, match="There is no file"):
        enter("mine", tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(BadEntry, match=r"broken\.onnx cannot be opened"):
        enter("mine", tmp_path / "broken.onnx")
    assert entries() == ()


@pytest.mark.parametrize(
    ("inputs", "body", "told"),
    [
        ("int64[2, 16] input_ids", "{ a = Cast <to = 1> (input_ids) logits = Neg (a) }", "dynamic"),
        ("float[N, 2] pixels", "{ logits = Neg (pixels) }", "wants an input 'pixels'"),
        ("int64[N, M] input_ids", "{ logits = Cast <to = 1> (input_ids) }", "Expected are"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_is_wrong(tmp_path, inputs, body, told):
    with pytest.raises(BadEntry, match=told):
        enter("mine", parsed(tmp_path, inputs, body))


@pytest.mark.built
def test_the_reference_is_as_good_as_itself(monkeypatch):
    monkeypatch.setenv("TUTORIAL_PACE", "quick")
    made = enter("reference", pipeline.ensure("tuned"), pipeline.recipe("tuned"))
    assert made.f1 > 0.85
    assert made.agreement > 0.98
    assert not [one for one in made.missed if "latency" not in one]
    assert "reference" in str(table())


def test_the_recipe_reaches_the_session_and_the_batches(measured, tiny_onnx, monkeypatch):
    seen = {}

    def label(texts, predict, **how):
        seen.update(how)
        return measured["answers"]

    monkeypatch.setattr(scoreboard, "label", label)
    enter("mine", tiny_onnx, Recipe(token_budget=77, workers=2))
    assert seen == {"budget": 77, "workers": 2}
