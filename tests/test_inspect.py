"""What ``inspect`` finds out without exporting, and that ``optimize`` begins with the same."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import huggingface_hub
import pytest
import torch
import transformers
from tiny_checkpoints import FAMILIES, SIZE, save, texts
from transformers import AutoModelForSequenceClassification

from tutorial_utils import cli, optimize
from tutorial_utils.core import records
from tutorial_utils.graph import export, fusion, inspection
from tutorial_utils.models import loading, weights
from tutorial_utils.models.classifiers import open_classifier
from tutorial_utils.optimize import Effort, duration, facts
from tutorial_utils.optimize.overview import Data, Overview, Tokens
from tutorial_utils.optimize.texts import Texts

PARAMETERS = 24_738  # of a tiny BERT with two labels: see `test_parameters_are_those_of_the_model`


def table(folder, labels, lines=None, header="text,label", name="data.csv"):
    """A file of texts, whose labels repeat."""
    given = lines or texts(len(labels))
    rows = [f"{text},{label}" for text, label in zip(given, labels, strict=True)]
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / name


def patched(folder, **fields):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save(tmp_path_factory.mktemp("inspect") / "bert")


def test_the_facts_of_a_classifier_and_its_data(tmp_path):
    folder = save(
        tmp_path / "model", num_labels=3, padding_side="left",
        tokenizer={"truncation_side": "left"},
        patch={"id2label": {"0": "no", "1": "perhaps", "2": "yes"}, "label2id": None},
    )  # fmt: skip
    labels = ["yes"] * 30 + ["no"] * 20 + ["perhaps"] * 10
    file = table(tmp_path, labels, [*texts(57), "good", "good film " * 31, "good " * 63])
    found = facts.inspect(folder, data=file)
    assert found.error is None
    assert (found.family, found.architecture) == ("bert", "BertForSequenceClassification")
    assert (found.task, found.labels) == ("single_label", ("no", "perhaps", "yes"))
    assert found.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert (found.max_length, found.longest) == (64, 64)
    assert found.tokenizer == Tokens("WordLevel", 16, True, "left", "left")
    # 62 words and two special tokens are just read whole; 63 words are not.
    assert found.data == Data("data.csv", 60, "text", "text, label; labels by name", 0, 0.5, 1 / 60)
    assert found.remarks == ()
    assert 0 < found.quick_minutes < found.minutes


def test_what_is_printed_is_short_and_in_order(bert, tmp_path, capsys):
    assert cli.main(["inspect", str(bert), "--data", str(table(tmp_path, [0, 1] * 30))]) == 0
    shown = capsys.readouterr()
    first, *lines = shown.out.splitlines()
    assert first == bert.name
    assert [line.split()[0] for line in lines] == [
        "model", "weights", "task", "inputs", "length", "tokenizer", "fusions", "data", "optimize",
    ]  # fmt: skip
    assert f"{PARAMETERS:,} parameters in fp32, 0.1 MB" in lines[1]
    assert "about" in lines[-1]
    assert shown.err == ""


def test_json_is_all_that_is_on_stdout_and_the_same_facts(bert, tmp_path):
    command = ["inspect", str(bert), "--data", str(table(tmp_path, [0, 1] * 30)), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tutorial_utils", *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found, again = records.loads(Overview, done.stdout), facts.inspect(bert, data=command[3])
    assert found.data == again.data
    assert found.weights == again.weights
    assert found.labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("wrong", "error", "known"),
    [
        ({"architectures": ["BertForTokenClassification"]}, "BadClassifier.*label for each", False),
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantized", False),
        ({"problem_type": "multi_class"}, "`problem_type` 'multi_class'", False),
        ({"id2label": {"0": "a", "2": "c"}}, "numbered from 0", False),
        ({"intermediate_size": 32}, "do not fit config.json", True),
    ],
)
def test_a_refused_model_shows_what_is_known_and_why(wrong, error, known, tmp_path, capsys):
    folder = patched(save(tmp_path / "model"), **wrong)
    capsys.readouterr()
    assert cli.main(["inspect", str(folder), "--json"]) == 2
    shown = capsys.readouterr()
    found = records.loads(Overview, shown.out)
    assert (found.family, found.weights.parameters) == ("bert", PARAMETERS)
    assert found.architecture == wrong.get("architectures", ["BertForSequenceClassification"])[0]
    assert found.tokenizer.size == 16
    assert (found.task == "single_label") == known
    assert (found.minutes, found.max_length) == (None, None)
    assert shown.err.rstrip("\n") == found.error
    assert re.search(error, found.error)


def test_a_refused_model_is_code_2_for_people_too(tmp_path, capsys):
    folder = patched(save(tmp_path / "model"), problem_type="multi_class")
    capsys.readouterr()
    assert cli.main(["inspect", str(folder)]) == 2
    shown = capsys.readouterr()
    assert "BertForSequenceClassification" in shown.out
    assert shown.err.startswith("BadClassifier: model: `problem_type` 'multi_class'")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"architectures": "x"}', '{"model_type": 5, "architectures": 5}'],
)
def test_a_config_that_is_none_is_refused_and_no_fault(text, tmp_path, capsys):
    folder = save(tmp_path / "model")
    (folder / "config.json").write_text(text)
    assert cli.main(["inspect", str(folder), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["error"].startswith("BadClassifier: ")
    assert found["weights"]["parameters"] == PARAMETERS
    assert cli.main(["inspect", str(folder)]) == 2


def test_a_slow_tokenizer_is_told_although_it_is_refused(tmp_path):
    folder = save(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic"})
    )
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good"]))
    found = facts.inspect(folder)
    assert "only a slow tokenizer" in found.error
    assert (found.tokenizer.kind, found.tokenizer.fast) == ("BertJapaneseTokenizer", False)


@pytest.mark.parametrize("absent", ["nowhere/model", "a-name-that-no-hub-has", "./nothing"])
def test_no_model_at_all_is_an_error_and_nothing_else(absent, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert cli.main(["inspect", absent, "--json"]) == 2
    found = records.loads(Overview, capsys.readouterr().out)
    assert found.error.startswith("BadClassifier: ")
    assert (found.family, found.weights, found.tokenizer, found.labels) == (None, None, None, ())


@pytest.mark.parametrize("wrong", [{}, {"problem_type": "multi_class"}])
def test_a_model_of_the_hub_is_told_from_what_was_downloaded(wrong, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = tmp_path / "hub" / "models--someone--tiny"
    patched(save(kept / "snapshots" / commit), **wrong)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    done = subprocess.run(
        [sys.executable, "-m", "tutorial_utils", "inspect", "someone/tiny", "--json"],
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    found = records.loads(Overview, done.stdout)
    assert (done.returncode, found.error is None) == ((2, False) if wrong else (0, True))
    assert (found.source, found.weights.parameters) == ("someone/tiny", PARAMETERS)
    assert found.tokenizer.size == 16
    assert wrong or (found.family, found.fusions) == ("bert", fusion.KNOWN["bert"])


def test_data_that_cannot_be_used_leave_the_facts_of_the_model(bert, tmp_path, capsys):
    file = table(tmp_path, [0, 1] * 29 + [0, "maybe"])
    assert cli.main(["inspect", str(bert), "--data", str(file), "--json"]) == 2
    found = records.loads(Overview, capsys.readouterr().out)
    assert "1 of 60 rows cannot be used; the first is line 61: label 'maybe'" in found.error
    assert (found.max_length, found.data, found.remarks) == (64, None, ())
    assert cli.main(["inspect", str(bert), "--data", str(file), "--json", "--skip-bad-rows"]) == 0
    found = records.loads(Overview, capsys.readouterr().out)
    assert (found.data.texts, found.data.skipped) == (59, 1)
    assert found.remarks[0].startswith("1 of 60 rows of data.csv were left out")


def test_data_without_a_decision_in_them_are_told_with_their_facts(bert, tmp_path):
    labels = [0] * 59 + [1]  # the only other label may be among the texts that choose
    found = facts.inspect(bert, data=table(tmp_path, labels))
    assert found.data.majority == pytest.approx(59 / 60)
    assert found.error is None or "have the same label" in found.error


def test_flags_that_cannot_be_right_are_an_error_in_json_too(bert, capsys):
    assert cli.main(["inspect", str(bert), "--text", "a", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"].startswith("BadData: Flags that say how")


def test_a_fault_is_code_3_and_json_too(bert, monkeypatch, capsys):
    monkeypatch.setattr(facts, "describe", lambda *given: 1 / 0)
    assert cli.main(["inspect", str(bert), "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {"error": "ZeroDivisionError: division by zero"}


# The task.


@pytest.mark.parametrize(
    ("count", "kind", "labels", "task", "by"),
    [
        (1, None, None, "score", "as transformers.pipeline reads it"),
        (1, None, [0, 1], "score", "as transformers.pipeline reads it"),
        (1, None, [0.5, 3.25], "regression", "labels in the data that are not 0 and 1"),
        (1, "regression", [0, 1], "regression", "`problem_type`"),
        (3, "multi_label_classification", ["0|2", ""], "multi_label", "`problem_type`"),
        (3, None, [0, 2], "single_label", "3 outputs"),
    ],
)
def test_it_says_which_task_and_what_decided(count, kind, labels, task, by, tmp_path):
    folder = save(tmp_path / "model", num_labels=count, problem_type=kind)
    file = table(tmp_path, labels * 30) if labels else None
    found = facts.inspect(folder, data=file)
    assert (found.error, found.task) == (None, task)
    assert by in found.decided_by
    assert {"score": "a sigmoid", "regression": "a number"}.get(task, "labels") in str(found)
    assert task != "regression" or found.data.majority is None


def test_pairs_are_told(tmp_path):
    folder = save(tmp_path / "model", num_labels=2)
    lines = [f"{a},{b}" for a, b in zip(texts(60), texts(60, seed=1), strict=True)]
    file = table(tmp_path, [0, 1, 1] * 20, lines, "text,text_pair,label")
    found = facts.inspect(folder, data=file)
    assert found.data.reads == "pair"
    assert found.data.majority == pytest.approx(2 / 3)
    assert "60 pairs of texts" in str(found)


@pytest.mark.parametrize("form", ["encoder", "sentence-transformers"])
def test_vectors_are_told_with_their_width_and_pooling(form, tmp_path):
    folder = save(tmp_path / "model", padding_side="left")
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)
    assert "--pooling" in facts.inspect(folder).error
    given = {"pooling": "cls", "normalize": True}
    if form != "encoder":
        given = {}
        parts = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
        modules = [{"type": f"sentence_transformers.models.{t}", "path": p} for t, p in parts]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    found = facts.inspect(folder, **given)
    assert (found.error, found.task, found.labels, found.width) == (None, "embedding", (), 32)
    assert (found.pooling.mode, found.pooling.normalize) == ("cls", True)
    assert found.decided_by == ("an encoder without a head" if given else "modules.json")
    assert found.tokenizer.padding_side == "right"
    assert "32 numbers, pooled by cls, of length 1" in str(found)
    assert records.loads(Overview, records.dumps(found)) == found


# Lengths.


def test_it_says_that_texts_are_cut_and_how_to_keep_them(tmp_path):
    folder = save(
        tmp_path / "model", max_position_embeddings=600, tokenizer={"model_max_length": 600}
    )
    lines = ["good " * 550] * 15 + ["bad"] * 45
    file = table(tmp_path, [0, 1] * 30, lines)
    found = facts.inspect(folder, data=file)
    assert (found.max_length, found.longest, found.data.truncated) == (512, 600, 0.25)
    assert "--max-length 600" in found.remarks[0]
    found = facts.inspect(folder, data=file, max_length=600)
    assert (found.max_length, found.data.truncated, found.remarks) == (600, 0.0, ())
    found = facts.inspect(folder, data=file, max_length=601)
    assert "--max-length 601" in found.error


# What people may not expect of the answers.


IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"


@pytest.mark.parametrize(
    ("fields", "kind", "told"),
    [
        ({"sentence_transformers": {"activation_fn": IDENTITY, "version": "5.1.2"}}, None, True),
        ({"sbert_ce_default_activation_function": IDENTITY}, None, True),
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, None, False),
        ({"sentence_transformers": {"version": "5.1.2"}}, None, False),
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, "regression", True),
        ({"sentence_transformers": {"activation_fn": IDENTITY}}, "regression", False),
        ({"sentence_transformers": "none"}, None, False),
    ],
)
def test_another_activation_of_a_cross_encoder_is_told(fields, kind, told, tmp_path):
    folder = save(tmp_path / "model", num_labels=1, problem_type=kind, patch=fields)
    found = facts.inspect(folder)
    said = [line for line in found.remarks if "sentence-transformers returns" in line]
    assert (found.error, len(said)) == (None, told)
    if told and kind is None:
        assert "returns the logit itself, but here the answer is its sigmoid" in said[0]
        assert "logit = log(p / (1 − p))" in said[0]
    if told and kind:
        assert "returns Sigmoid of the logit, but here the answer is the logit itself" in said[0]


def test_the_activation_of_a_head_with_several_labels_needs_no_remark(tmp_path):
    fields = {"sentence_transformers": {"activation_fn": IDENTITY}}
    assert len(facts.inspect(save(tmp_path / "model", num_labels=3, patch=fields)).remarks) == 1


def test_words_that_the_tokenizer_does_not_know_are_told_with_their_share(tmp_path):
    folder = save(tmp_path / "model")  # its words are in lower case
    for line, share in (("Good film", "50%"), ("good film", None), ("the film " * 9 + "Is", "5%")):
        file = table(tmp_path, [0, 1] * 30, [line] * 60)
        told = [one for one in facts.inspect(folder, data=file).remarks if "[UNK]" in one]
        assert len(told) == (share is not None)
        assert share is None or f"does not know {share} of the data's tokens" in told[0]
    assert facts.inspect(folder).remarks[0].startswith("Without labelled texts")


# Weights.


def test_parameters_are_those_of_the_model(bert):
    model = AutoModelForSequenceClassification.from_pretrained(bert)
    assert sum(w.numel() for w in model.parameters()) == PARAMETERS
    assert weights.read(bert).parameters == PARAMETERS
    assert weights.read(bert).megabytes == (bert / "model.safetensors").stat().st_size / 1e6


@pytest.mark.parametrize("form", ["safetensors", "sharded", "bin", "older bin", "sharded bin"])
def test_precision_is_read_from_every_form_of_file(form, tmp_path):
    folder = save(tmp_path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(folder).half()
    model.classifier.float()  # two labels and a bias for each of 32 numbers
    (folder / "model.safetensors").unlink()
    state = model.state_dict() | {"bert.embeddings.position_ids": torch.arange(80)}
    if "bin" not in form:
        model.save_pretrained(folder, max_shard_size="20KB" if form == "sharded" else "5GB")
    elif form == "sharded bin":
        parts = [dict(list(state.items())[i::2]) for i in (0, 1)]
        for i, part in enumerate(parts):
            torch.save(part, folder / f"pytorch_model-{i}.bin")
        index = {name: f"pytorch_model-{i}.bin" for i, part in enumerate(parts) for name in part}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    else:
        archive = {"_use_new_zipfile_serialization": form == "bin"}
        torch.save(state, folder / "pytorch_model.bin", **archive)
    assert (len([*folder.glob("*model*-*")]) > 1) == ("sharded" in form)
    found = weights.read(folder)
    assert dict(found.precision) == {"fp16": PARAMETERS - 66, "fp32": 66}
    assert "fp16 (99.7%) and fp32 (0.3%)" in str(found)


def test_without_weights_nothing_is_told(tmp_path):
    folder = save(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    found = facts.inspect(folder)
    assert found.weights is None
    assert found.error.startswith("BadClassifier: model cannot be opened")


# Fusions.


def small(family, folder):
    return save(folder, family, **({} if family in FAMILIES else SIZE))


@pytest.mark.parametrize("family", FAMILIES)
def test_fusions_are_known_for_each_family_of_the_readme(family, tmp_path):
    found = facts.inspect(small(family, tmp_path / "model"))
    assert found.error is None
    assert found.fusions == tuple(
        op for op in fusion.KNOWN[family] if (family, op) != ("albert", "BiasGelu")
    )  # ALBERT's activation approximates GELU


def test_an_activation_that_is_not_gelu_and_an_unknown_family_promise_nothing(tmp_path):
    found = facts.inspect(save(tmp_path / "relu", hidden_act="relu"))
    assert found.fusions == ("Attention", "SkipLayerNormalization")
    found = facts.inspect(save(tmp_path / "roformer", "roformer"))
    assert found.fusions is None
    assert "none is known for this family" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("family", fusion.KNOWN)
def test_what_fuses_is_what_was_promised(family, tmp_path):
    classifier = open_classifier(small(family, tmp_path / "model"))
    promised = facts.inspect(classifier.source).fusions
    export.export(classifier.module(), tmp_path / "a.onnx", inputs=classifier.example())
    fusion.fuse(tmp_path / "a.onnx", tmp_path / "b.onnx")
    found = inspection.op_counts(tmp_path / "b.onnx")
    possible = {op for ops in fusion.KNOWN.values() for op in ops}
    missing = {op for op in promised if not found[op]}
    more = {op for op in possible - {"Gelu"} if found[op]} - set(promised)
    assert (missing, more) == (set(), set())


# Time.


def test_operations_are_those_of_the_matrices(bert, tmp_path):
    """Two for each weight: in each of two layers four of 32 × 32 and two of 32 × 64."""
    layers = 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64)
    head = 2 * (32 * 32 + 32 * 2) / 8  # for one of 8 tokens
    assert open_classifier(bert).operations == pytest.approx(layers + head)


def test_more_texts_longer_texts_and_larger_models_take_longer(bert, monkeypatch):
    monkeypatch.setattr(duration, "_operations_per_second", lambda: 1e6)
    classifier = open_classifier(bert)
    short = Texts(rows=((2, 4, 3),) * 100)
    long = Texts(rows=((2, *[4] * 30, 3),) * 100)

    def minutes(rows=short, count=1_000, parameters=PARAMETERS):
        return duration.minutes(classifier, parameters, rows, count)

    for more in (minutes(long), minutes(count=2_000), minutes(parameters=10**8)):
        assert all(b > a for a, b in zip(minutes(), more, strict=True))
    most = Effort().max_texts
    assert minutes(count=most) == minutes(count=10 * most)


# optimize.


def test_optimize_begins_with_the_same_lines_and_opens_the_model_once(bert, tmp_path, monkeypatch):
    calls, load, said = Counter(), loading.load, []
    monkeypatch.setattr(loading, "load", lambda *c: calls.update(["load"]) or load(*c))
    file = table(tmp_path, [0, 1] * 30)

    def say(line):
        said.append(line)
        if line.startswith("[1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimize.optimize(bert, tmp_path / "out", data=file, progress=say)
    assert calls["load"] == 1
    lines = str(facts.inspect(bert, data=file)).splitlines()
    assert said[0].splitlines()[:-1] == lines[:-1]  # the last one depends on the time of day
    assert said[1].startswith("[1/")
