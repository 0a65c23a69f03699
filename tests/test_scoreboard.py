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


def entry(name, time=SAME, texts=2000, machine="EPYC", **other):
    return Entry(name, 23.0, 0.88, 0.99, 0.98, time, texts, machine, **other)


@pytest.fixture
def measured(monkeypatch, tiny_onnx):
    """Sentences and times without the data of the course; yields what can be changed."""
    given = {"time": SAME, "answers": np.arange(200) % 2, "elsewhere": np.ones(100)}
    others = tuple(f"product {i}" for i in range(100))
    labels = np.arange(len(TEXTS)) % 2
    sentences = reviews.Reviews(TEXTS, labels, 4.0 * labels - 2)
    monkeypatch.setattr(measure, "sentences", lambda: sentences)
    monkeypatch.setattr(measure, "predictions", lambda step, first=None: np.arange(first) % 2)
    monkeypatch.setattr(measure, "product_reviews", lambda: (others, np.ones(100)))

    def label(texts, predict, **how):
        return given["answers" if texts == TEXTS else "elsewhere"]

    monkeypatch.setattr(scoreboard, "label", label)
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
        ({"time": Ratio(1.0, 0.7, 1.4)}, "too noisy to decide, try rounds=15: latency"),
        ({"elsewhere": np.arange(100) > 5}, "agreement with PyTorch on product reviews"),
    ],
)
def test_what_misses_a_limit_is_kept_and_named(measured, tiny_onnx, change, told):
    measured.update(change)
    made = enter("mine", tiny_onnx)
    assert told in made.verdict
    assert told in str(table())


def test_noise_in_one_check_does_not_hide_that_another_one_was_missed():
    made = entry("mine", missed=("agreement: 60 %",), noisy=("latency: 1.0 ×",))
    assert made.verdict == "missed: agreement; too noisy to decide, try rounds=15: latency"
    assert not made.passed


def test_the_table_ranks_those_that_passed_by_the_high_end_of_their_time():
    for made in (
        entry("reference"),
        entry("quick", Ratio(0.8, 0.7, 0.9)),
        entry("lucky", Ratio(0.95, 0.86, 1.05)),
        entry("slower", Ratio(1.05, 1.04, 1.06)),
        entry("wrong", Ratio(0.1, 0.1, 0.1), missed=("agreement with PyTorch: 60 %",)),
    ):
        scoreboard._keep(made)
    assert column("beats it") == {
        "quick": "yes",
        "reference": "too close to tell",
        "lucky": "too close to tell",
        "slower": "no",
        "wrong": "–",
    }
    assert [row[0] for row in table().rows] == ["1", "2", "3", "4", "–"]


def test_entries_on_fewer_sentences_have_no_place_beside_the_others():
    scoreboard._keep(entry("few", Ratio(0.5, 0.4, 0.6), texts=500))
    assert column("") == {"few": "1"}
    scoreboard._keep(entry("all"))
    assert column("") == {"few": "–", "all": "1"}
    assert column("the checks")["few"] == "on 500 of 2,000 texts: enter it again"


def test_machines_are_named_where_they_differ():
    scoreboard._keep(entry("here"))
    assert "machine" not in table().headers
    scoreboard._keep(entry("there", machine="H100"))
    assert column("machine") == {"here": "EPYC", "there": "H100"}


def column(header):
    """entry → what the table has for it."""
    shown = table()
    place = shown.headers.index(header)
    return {row[1]: row[place] for row in shown.rows}


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
    assert made.elsewhere > 0.97
    assert not [one for one in made.missed if "latency" not in one]
    assert "reference" in str(table())


def bag_of_words(file, texts, labels):
    """A file with one number for each token, so that the sums give these labels to these texts."""
    rows = reviews.encode(texts)
    words = np.zeros((len(texts), reviews.tokenizer().get_vocab_size()), np.float32)
    for counts, row in zip(words, rows, strict=True):
        np.add.at(counts, row, 1)
    dual = np.linalg.lstsq(words @ words.T, 2.0 * labels - 1, rcond=None)[0]
    weights = np.stack([-(dual @ words), dual @ words], axis=1).astype(np.float32)
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> '
        "g (int64[N, M] input_ids, int64[N, M] attention_mask) => (float[N, 2] logits) "
        "<int64[1] middle = {1}, int64[1] last = {2}> {"
        "a = Gather (table, input_ids) m = Cast <to = 1> (attention_mask) "
        "n = Unsqueeze (m, last) b = Mul (a, n) logits = ReduceSum <keepdims = 0> (b, middle) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "table"))
    onnx.save(model, file)
    return file


@pytest.mark.built
def test_a_bag_of_words_that_knows_the_test_sentences_by_heart_does_not_pass(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTORIAL_PACE", "quick")
    monkeypatch.setattr(scoreboard, "_time", lambda *_: Ratio(0.03, 0.02, 0.04))
    texts = measure.sentences().texts
    file = bag_of_words(tmp_path / "model.onnx", texts, measure.predictions("pytorch", len(texts)))
    made = enter("by heart", file)
    assert made.agreement == 1.0
    assert made.elsewhere < 0.85
    assert made.verdict == "missed: agreement with PyTorch on product reviews"
    assert made.beats == "–"


def test_the_recipe_reaches_the_session_and_the_batches(measured, tiny_onnx, monkeypatch):
    seen = {}

    def label(texts, predict, **how):
        seen.update(how)
        return measured["answers"][: len(texts)]

    monkeypatch.setattr(scoreboard, "label", label)
    enter("mine", tiny_onnx, Recipe(token_budget=77, workers=2))
    assert seen == {"budget": 77, "workers": 2}
