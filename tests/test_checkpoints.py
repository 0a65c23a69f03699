"""Opening checkpoints that people have: each kind is read right, or refused with its fix."""

import itertools
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import service
import torch
import transformers
from tiny_checkpoints import FAMILIES, SIZE, WORDS, save, texts, words
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tutorial_utils import cli, quality
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core.errors import InvalidArgument, TutorialError
from tutorial_utils.models import tokenizer
from tutorial_utils.models.classifiers import BadClassifier, open_classifier
from tutorial_utils.optimize import (
    answers,
    choice,
    gate,
    promotion,
    results,
    timing,
    variants,
)
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.registry import load
from tutorial_utils.runtime import batching, tokenization
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.serving.settings import Settings
from tutorial_utils.tasks import Close

LINES = [*texts(6), ("good film", "bad plot"), ("a", "the scene bore")]


def by_transformers(folder, lines, **options) -> np.ndarray:
    """Logits in fp32 as the library computes them, each text by itself: the right answers."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).float().eval()
    reader, found = AutoTokenizer.from_pretrained(folder), []
    for line in lines:
        pair = line if isinstance(line, tuple) else (line,)
        given = reader(*pair, return_tensors="pt", truncation=True, **options)
        with torch.inference_mode():
            found.append(model(**given, return_dict=True).logits[0].numpy())
    return np.array(found)


def by_us(classifier, lines) -> np.ndarray:
    rows = classifier.encode(lines)
    return classifier.predictor()(batching.pad(rows, padding=classifier.padding))


def same_as_transformers(folder, **options) -> None:
    right = by_transformers(folder, LINES, return_token_type_ids=True, **options)
    assert np.ptp(right) > 0.1  # answers that differ
    assert np.allclose(by_us(open_classifier(folder), LINES), right, atol=1e-5)


def patched(folder, **fields):
    """A checkpoint with other fields in its config.json; None removes one."""
    file = save(folder) / "config.json"
    config = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


# Heads and tasks.


@pytest.mark.parametrize(
    ("kind", "family", "purpose"),
    [
        ("AutoModelForTokenClassification", "bert", "a label for each token"),
        ("AutoModelForTokenClassification", "modernbert", "a label for each token"),
        ("AutoModelForQuestionAnswering", "distilbert", "the place of an answer"),
        ("AutoModelForMultipleChoice", "bert", "one of several continuations"),
        ("AutoModelForNextSentencePrediction", "bert", "another task"),
        ("AutoModelForCausalLM", "gpt2", "generating text"),
        ("AutoModelForSequenceClassification", "gpt2", "a decoder"),
        ("AutoModelForSeq2SeqLM", "bart", "generating text"),
        ("AutoModelForSequenceClassification", "bart", "a decoder"),
    ],
)
def test_another_head_is_refused_by_its_architecture(kind, family, purpose, tmp_path):
    small = {
        "gpt2": {"vocab_size": 120, "n_embd": 32, "n_layer": 1, "n_head": 2},
        "bart": {"vocab_size": 120, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
                 "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2,
                 "decoder_attention_heads": 2, "max_position_embeddings": 80},
    }.get(family) or FAMILIES[family][0]  # fmt: skip
    config = transformers.AutoConfig.for_model(**small | {"model_type": family, "pad_token_id": 0})
    model = getattr(transformers, kind).from_config(config)
    model.save_pretrained(tmp_path / "model")
    words(tmp_path / "model")
    architecture = type(model).__name__
    with pytest.raises(BadClassifier, match=purpose) as raised:
        open_classifier(tmp_path / "model")
    assert f"is a {architecture}" in str(raised.value)
    assert "…ForSequenceClassification" in str(raised.value)


def test_a_bert_that_was_made_a_decoder_is_refused(tmp_path):
    with pytest.raises(BadClassifier, match="a decoder"):
        open_classifier(patched(tmp_path / "model", is_decoder=True))


def test_without_an_architecture_the_weights_decide(tmp_path):
    folder = patched(tmp_path / "model", architectures=None)
    assert open_classifier(folder).task == "single_label"
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": []}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadClassifier, match=r"no trained classification head.*classifier\.weight"):
        open_classifier(folder)


@pytest.mark.parametrize(
    ("count", "kind", "task"),
    [
        (1, None, "score"),
        (1, "regression", "regression"),
        (3, "regression", "regression"),
        (1, "multi_label_classification", "multi_label"),
        (3, "multi_label_classification", "multi_label"),
        (3, "single_label_classification", "single_label"),
        (3, None, "single_label"),
    ],
)
def test_the_problem_type_and_the_number_of_outputs_give_the_task(count, kind, task, tmp_path):
    folder = save(tmp_path / "model", num_labels=count, problem_type=kind)
    assert open_classifier(folder).task == task


def test_one_logit_is_the_score_of_the_library_s_pipeline(tmp_path):
    folder = save(tmp_path / "model", num_labels=1)
    asked = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    right = [told["score"] for told in asked(texts(5))]
    found = quality.sigmoid(by_us(open_classifier(folder), texts(5)))[:, 0]
    assert found == pytest.approx(right, abs=1e-5)


# Fields of config.json.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"problem_type": "multi_class"}, "`problem_type` 'multi_class'.*single_label_class.*regr"),
        ({"problem_type": "single_label_classification", "id2label": {"0": "a"}},
         "one output alone always has probability 1.*`regression`"),
        ({"id2label": {"0": "a", "2": "c"}}, "`id2label` is .*'2'.*from 0 without gaps"),
        ({"id2label": {"1": "a", "2": "b"}}, "numbered from 0 without gaps"),
        ({"id2label": {"a": "0", "b": "1"}}, "numbered from 0 without gaps"),
        ({"id2label": {"0": "a", "1": "a"}}, "names labels 0 and 1 both 'a'"),
        ({"id2label": {"0": 1, "1": "1"}}, "names labels 0 and 1 both '1'"),
        ({"id2label": {"0": "a", "1": True}}, "names label 1 True, which is not text"),
        ({"id2label": {"0": "a", "1": ["b"]}}, "names label 1 .*, which is not text"),
        ({"id2label": {"0": "a", "1": " "}}, "names label 1 ' ', which is not text"),
        ({"id2label": "a, b"}, "`id2label` is 'a, b'"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, r"\[2.*\[3.*names 3 label.*`id2label`"),
        ({"id2label": {"0": "a"}}, r"\[2.*\[1.*names 1 label.*`id2label`"),
        ({"num_labels": 3}, r"\[2.*\[3.*names 3 label.*`id2label`"),
        ({"num_labels": "two"}, "`num_labels` is 'two'"),
        ({"num_labels": 3, "id2label": {"0": "a", "1": "b"}}, "`num_labels` is 3, but `id2label`"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}},
         "gives 'a' the number 0, but `label2id` gives it 1"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "c": 1}},
         "gives 'b' the number 1, but `label2id` does not have it"),
        ({"intermediate_size": 32}, "do not fit config.json.*shape"),
        ({"hidden_size": "32"}, "cannot be opened"),
        ({"model_type": "unheard"}, "cannot be opened.*unheard"),
        ({"model_type": None}, "no `model_type`"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
         r"already quantized \(`quantization_config` in config.json: bitsandbytes\).*fp32"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"auto_map": {"AutoModelForSequenceClassification": "modeling_x.XFor"}},
         r"its own code \(`auto_map` in config.json: .*modeling_x.XFor.*trust_remote_code"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_right_is_named_with_its_fix(fields, message, tmp_path):
    with pytest.raises(BadClassifier, match=re.compile(message, re.DOTALL)):
        open_classifier(patched(tmp_path / "model", **fields))


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"id2label": {"1": "pos", "0": "neg"}}, ("neg", "pos")),
        ({"id2label": {"0": 1, "1": 2.5}}, ("1", "2.5")),
        ({"id2label": ["neg", "pos"]}, ("neg", "pos")),
        ({"id2label": None, "label2id": {"pos": 1, "neg": 0}}, ("neg", "pos")),
        ({"id2label": {"0": "neg", "1": "pos"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}},
         ("neg", "pos")),
        ({"id2label": {"0": "neg", "1": "pos"}, "label2id": {"neg": "0", "pos": "1"}},
         ("neg", "pos")),
        ({"num_labels": 2}, ("LABEL_0", "LABEL_1")),
        ({"id2label": {"0": "yes|no", "1": "ä, \"x\""}}, ("yes|no", 'ä, "x"')),
    ],
)  # fmt: skip
def test_names_of_labels_are_in_the_order_of_the_outputs(fields, names, tmp_path):
    folder = patched(tmp_path / "model", **fields)
    assert open_classifier(folder).labels == names
    assert np.allclose(
        by_us(open_classifier(folder), LINES),
        by_us(open_classifier(save(tmp_path / "plain")), LINES),
    )


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("config.json", ("id2label", "label2id", "num_labels", "problem_type", "architectures",
                         "model_type", "auto_map", "return_dict", "vocab_size", "is_decoder")),
        ("tokenizer_config.json", ("model_max_length", "padding_side", "truncation_side")),
    ],
)  # fmt: skip
def test_whatever_a_field_holds_it_is_opened_or_refused(file, fields, tmp_path):
    values = (None, 5, -1, 2.5, "x", "5", "", ["a"], [1], {"0": "a"}, {"0": {"x": 1}, "1": [2]})
    path, opened = save(tmp_path / "model") / file, 0
    config = json.loads(path.read_text())
    for field, value in itertools.product(fields, values):
        path.write_text(json.dumps(config | {field: value}))
        tokenizer.of_source.cache_clear()
        try:
            opened += bool(open_classifier(tmp_path / "model").encode(["good film"]))
        except TutorialError:  # anything else is a fault
            continue
    assert 0 < opened < len(fields) * len(values)


PLAIN = {
    "output_hidden_states": True, "output_attentions": True, "return_dict": False,
    "use_cache": True, "torchscript": True, "chunk_size_feed_forward": 3,
    "attn_implementation": "flash_attention_2", "gradient_checkpointing": True, "dtype": "float16",
}  # fmt: skip


@pytest.mark.parametrize("field", PLAIN)
def test_what_a_config_asks_of_each_run_does_not_change_the_answers(field, tmp_path):
    folder = patched(tmp_path / "model", **{field: PLAIN[field]})
    right = by_us(open_classifier(save(tmp_path / "plain")), LINES)
    assert np.array_equal(by_us(open_classifier(folder), LINES), right)


def test_a_file_has_logits_only_whatever_the_config_asks_for(tmp_path):
    folder = patched(tmp_path / "model", **PLAIN)
    job = Job(classifier := open_classifier(folder), Texts.of(classifier, None), tmp_path / "work")
    answers.store_reference(job)
    variants.exported(job)
    graph = onnx.load(job.file("exported")).graph
    assert [output.name for output in graph.output] == ["logits"]
    plain = open_classifier(save(tmp_path / "plain"))
    rows = batching.pad(plain.encode(LINES))
    assert np.allclose(onnx_predict(job.file("exported"))(rows), plain.predictor()(rows), atol=1e-4)


# Files.


@pytest.mark.parametrize("kind", ["fp16", "bf16", "sharded", "pytorch_model.bin"])
@pytest.mark.parametrize("name", ["model", "with space ü"])
def test_weights_of_each_kind_give_the_answers_of_pytorch_in_fp32(kind, name, tmp_path):
    folder = save(tmp_path / name)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    if kind == "pytorch_model.bin":
        torch.save(model.state_dict(), folder / kind)
    elif kind == "sharded":
        model.save_pretrained(folder, max_shard_size="20KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 2
    else:
        model.to({"fp16": torch.float16, "bf16": torch.bfloat16}[kind]).save_pretrained(folder)
    same_as_transformers(folder)
    weights = open_classifier(folder).module().state_dict().values()
    assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float32}


def test_a_missing_shard_is_an_error_of_the_input(tmp_path):
    folder = save(tmp_path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    next(folder.glob("model-*.safetensors")).unlink()
    with pytest.raises(BadClassifier, match="cannot be opened"):
        open_classifier(folder)


def test_adapters_are_refused_with_the_merge_named(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(BadClassifier, match=r"PEFT adapter.*merge_and_unload\(\)"):
        open_classifier(tmp_path / "adapter")
    folder = save(tmp_path / "model")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(BadClassifier, match="PEFT adapter"):
        open_classifier(folder)


def test_weights_of_an_adapter_beside_those_of_the_model_are_not_dropped_in_silence(tmp_path):
    folder = save(tmp_path / "model")
    weights = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    weights["bert.encoder.layer.0.attention.self.query.lora_A.weight"] = torch.ones(2, 32)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(BadClassifier, match="merge_and_unload"):
        open_classifier(folder)


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
@pytest.mark.parametrize(("asked", "held"), [(2, 3), (3, 2)])
def test_a_config_with_another_number_of_layers_than_the_weights_is_refused(
    family, asked, held, tmp_path
):
    field = "n_layers" if family == "distilbert" else "num_hidden_layers"
    kinds = ["full_attention"] * asked if family == "modernbert" else None
    folder = save(
        tmp_path / "a", family, **{field: held}, patch={field: asked, "layer_types": kinds}
    )
    message = f"says {asked} layers, but the weights hold {held} .* Correct `{field}`"
    with pytest.raises(BadClassifier, match=message):
        open_classifier(folder)
    save(tmp_path / "b", family, **{field: held})
    encoder = transformers.AutoModel.from_pretrained(tmp_path / "b")
    encoder.save_pretrained(tmp_path / "b")
    file = tmp_path / "b" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: asked, "layer_types": kinds}))
    with pytest.raises(BadClassifier, match=message):
        open_classifier(tmp_path / "b", pooling="mean")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_position_embeddings": 60}, r"\[80, 32\] instead of \[60, 32\]\. Correct `max_pos"),
        ({"vocab_size": 100}, r"\[120, 32\] instead of \[100, 32\]\. Correct `vocab_size`"),
        ({"hidden_size": 48}, r"instead of \[48.*Correct `hidden_size` in config\.json, or give"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": None}, "names 3 label"),
    ],
)
def test_weights_that_do_not_fit_blame_the_field_and_labels_only_for_the_head(
    fields, message, tmp_path
):
    with pytest.raises(BadClassifier, match=message) as error:
        open_classifier(save(tmp_path / "model", patch=fields))
    assert ("label" in str(error.value)) == ("id2label" in fields)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_is_said_to_be_one(name, tmp_path):
    folder = save(tmp_path / "model")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 90864000\n"
    (folder / "pytorch_model.bin").write_text(pointer)
    open_classifier(folder)  # that file is not read
    (folder / name).write_text(pointer)
    with pytest.raises(BadClassifier, match=f"{name} is a Git LFS pointer.*`git lfs pull`"):
        open_classifier(folder)


@pytest.mark.parametrize(
    "source", ["nowhere/at/all", "./nowhere", "../nowhere", "/nowhere", "~/x", "tests/x", "x/"]
)
def test_a_missing_folder_is_not_looked_for_on_the_hub(source, tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadClassifier, match=f"^There is no folder {re.escape(source)}"):
        open_classifier(source)


def test_folders_without_a_model_or_a_tokenizer_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadClassifier, match=r"empty cannot be opened: it has no config\.json"):
        open_classifier(tmp_path / "empty")
    save(tmp_path / "run" / "checkpoint-20")
    with pytest.raises(BadClassifier, match="Give its folder checkpoint-20"):
        open_classifier(tmp_path / "run")
    for step in range(11):
        save(tmp_path / "run" / f"checkpoint-{step + 10}")
    with pytest.raises(BadClassifier, match=r"one of its 11 folders checkpoint-10, .*-19, …\."):
        open_classifier(tmp_path / "run")
    with pytest.raises(BadClassifier, match="is a file"):
        open_classifier(tmp_path / "run" / "checkpoint-20" / "config.json")
    folder = save(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(BadClassifier, match="model cannot be opened"):
        open_classifier(folder)
    save(folder := tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(BadClassifier, match=r"tokenizer\.save_pretrained"):
        open_classifier(folder)


def test_the_revision_of_a_name_on_the_hub_is_its_commit(tmp_path):
    """In a process of its own, with what the hub's client keeps on disk and no network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = tmp_path / "hub" / "models--someone--tiny"
    save(kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    code = (
        "from tutorial_utils.models.classifiers import open_classifier as o\n"
        "c = o('someone/tiny'); c.module(); c.tokenizer(); print(c.source, c.revision)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.stdout.split() == ["someone/tiny", commit], found.stderr
    assert open_classifier(save(tmp_path / "model")).revision is None


def test_a_classifier_can_be_sent_to_another_process(tmp_path):
    classifier = open_classifier(save(tmp_path / "model"))
    assert pickle.loads(pickle.dumps(classifier)) == classifier


# Tokenizers.


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A job whose model is exported; the settings of its tokenizer do not matter yet."""
    folder = tmp_path_factory.mktemp("sides")
    classifier = open_classifier(save(folder / "model"))
    job = Job(classifier, Texts.of(classifier, None), folder / "work")
    answers.store_reference(job)
    variants.exported(job)
    return job


@pytest.mark.parametrize(
    ("truncation", "padding"), [("left", "right"), ("left", "left"), ("right", "left")]
)
def test_the_sides_of_truncation_and_padding_are_kept_up_to_the_served_answer(
    truncation, padding, exported, tmp_path
):
    settings = {"truncation_side": truncation, "padding_side": padding, "model_max_length": 10}
    folder = save(tmp_path / "model", tokenizer=settings)
    classifier = open_classifier(folder)
    job = replace(exported, classifier=classifier)
    close, time = (Close("agreement", 1.0, 0.98),), {timing.ONE_TEXT: Ratio(1, 1, 1)}
    evidence = gate.Evidence(close=close, time=time, size=1.0)
    best = choice.Judged(results.Candidate("exported", "exported"), evidence, ())
    promotion.promote(job, tmp_path / "r" / "m", results.Found(), best, job.recipe())
    stored = json.loads((tmp_path / "r" / "m" / "1" / "tokenizer.json").read_text())
    assert stored["truncation"]["direction"].lower() == truncation
    lines = ["good " * 20 + "bad " * 20, "bad plot " * 20 + "joy", *texts(4)]
    right = quality.softmax(by_transformers(folder, lines))
    assert abs(right[0] - right[1]).max() > 1e-3
    with service.running(Settings(registry=tmp_path / "r", model="m")) as client:
        bodies = [client.post("/predict", json={"texts": [line]}).json() for line in lines]
    told = [body["predictions"][0]["probabilities"] for body in bodies]
    assert np.allclose([list(one.values()) for one in told], right, atol=1e-4)
    # In a batch, padding on the left moves the positions that BERT reads.
    model = load(tmp_path / "r", "m")
    given = batching.pad(model.encode(lines), padding=model.recipe.padding)
    reader = AutoTokenizer.from_pretrained(folder)
    batch = reader(lines, return_tensors="pt", truncation=True, padding=True)
    with torch.inference_mode():
        right = AutoModelForSequenceClassification.from_pretrained(folder)(**batch).logits
    assert np.array_equal(given["input_ids"], batch["input_ids"])
    assert np.allclose(onnx_predict(job.file("exported"))(given), right, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_pair_loses_the_tokens_that_the_library_would_cut_off(side, tmp_path):
    folder = save(tmp_path / "model", tokenizer={"truncation_side": side, "model_max_length": 12})
    lines = [(" ".join(WORDS), " ".join(reversed(WORDS))), ("good", "bad plot " * 9)]
    found = open_classifier(folder).encode(lines)
    reader = AutoTokenizer.from_pretrained(folder)
    for (first, second), row in zip(lines, found, strict=True):
        right = reader(first, second, truncation=True, return_token_type_ids=True)
        assert (row, row.segments) == (right["input_ids"], right["token_type_ids"])


def test_segments_of_a_single_text_reach_the_model(tmp_path):
    """Funnel gives its first token a segment of its own."""
    reader = transformers.FunnelTokenizer(vocab={w: i for i, w in enumerate(
        ["<unk>", "<sep>", "<cls>", "<pad>", "<mask>", *WORDS])})  # fmt: skip
    (row,) = tokenization.encode(tokenization.prepare(reader.backend_tokenizer, 8), ["good film"])
    right = reader("good film", return_token_type_ids=True)
    assert right["token_type_ids"][0] == 2
    assert batching.pad([row])["token_type_ids"][0].tolist() == right["token_type_ids"]


def test_segments_that_the_model_does_not_know_are_not_given_to_it(tmp_path):
    folder = save(tmp_path / "model", "roberta", type_vocab_size=1)
    classifier = open_classifier(folder)
    assert classifier.inputs == ("input_ids", "attention_mask")
    right = by_transformers(folder, LINES, return_token_type_ids=False)
    assert np.allclose(by_us(classifier, LINES), right, atol=1e-5)


def test_settings_that_tokenizer_json_does_not_hold_are_refused(tmp_path):
    folder = save(tmp_path / "model", tokenizer={"split_special_tokens": True})
    with pytest.raises(BadClassifier, match="split_special_tokens"):
        open_classifier(folder)


def test_a_vocabulary_that_the_library_converts_is_used(tmp_path):
    folder = save(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]))
    assert open_classifier(folder).encode(["good film"]) == [[2, 4, 8, 3]]
    same_as_transformers(folder)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("CanineTokenizer", {}),
        ("PhobertTokenizer", {"vocab.txt": "a 5\nb 4\n", "bpe.codes": "a b 5\n"}),
        ("XLMRobertaTokenizer", {"sentencepiece.bpe.model": "?"}),
    ],
)
def test_a_slow_tokenizer_is_said_to_be_slow_with_the_way_to_convert_it(name, files, tmp_path):
    folder = save(tmp_path / "model", "xlm-roberta")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    for file, content in files.items():
        (folder / file).write_text(content)
    with pytest.raises(BadClassifier, match=r"only a slow tokenizer.*save_pretrained"):
        open_classifier(folder)


# Lengths.

TINY = SIZE | {"max_position_embeddings": 40, "pad_token_id": 1}
COUNTING = {
    "roberta": {}, "xlm-roberta": {}, "camembert": {}, "mpnet": {}, "data2vec-text": {},
    "roberta-prelayernorm": {}, "xlm-roberta-xl": {}, "ibert": {}, "markuplm": {},
    "xmod": {"default_language": "en", "languages": ["en"]},
    "longformer": {"attention_window": [8, 8]},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "lilt": {"hidden_size": 48},
}  # fmt: skip
FROM_ZERO = {
    "bert": {}, "albert": {}, "electra": {}, "ernie": {}, "rembert": {}, "nystromformer": {},
    "roformer": {}, "deberta": {}, "convbert": {}, "megatron-bert": {}, "big_bird": {},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
}  # fmt: skip


def answer(classifier, length):
    rows = [[7] * length]
    return classifier.predictor()(batching.pad(rows, padding=classifier.padding))


@pytest.mark.parametrize("family", [*COUNTING, *FROM_ZERO])
def test_the_longest_text_of_each_family_is_found_by_trying(family, tmp_path):
    settings = TINY | COUNTING.get(family, FROM_ZERO.get(family))
    unlimited = {"model_max_length": int(1e30)}
    classifier = open_classifier(save(tmp_path / "model", family, tokenizer=unlimited, **settings))
    assert classifier.max_length == classifier.longest == (38 if family in COUNTING else 40)
    assert np.isfinite(answer(classifier, classifier.longest)).all()
    with pytest.raises((IndexError, RuntimeError)):
        answer(classifier, classifier.longest + 1)
    (row,) = classifier.encode(["good " * 60])
    assert len(row) == classifier.longest


@pytest.mark.parametrize(
    "family",
    [
        "roberta",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("data2vec-text", "camembert")),
    ],
)
def test_a_file_answers_as_pytorch_does_at_the_longest_text(family, tmp_path):
    classifier = open_classifier(save(tmp_path / "model", family, **TINY))
    job = Job(classifier, Texts.of(classifier, None), tmp_path / "work")
    answers.store_reference(job)
    variants.exported(job)
    rows = [*classifier.random_rows(2, classifier.longest), [7] * 3]
    given = batching.pad(rows, padding=classifier.padding)
    assert np.allclose(
        onnx_predict(job.file("exported"))(given), classifier.predictor()(given), atol=1e-4
    )


def test_computed_positions_are_limited_by_the_config(tmp_path):
    folder = save(
        tmp_path / "model", "modernbert", max_position_embeddings=900,
        tokenizer={"model_max_length": 800},
    )  # fmt: skip
    classifier = open_classifier(folder)
    assert (classifier.max_length, classifier.longest) == (512, 800)
    for length in (600, 800):
        longer = open_classifier(folder, max_length=length)
        assert len(longer.encode(["good " * 1_000])[0]) == longer.max_length == length
    for length in (801, 4, 0, -1):
        with pytest.raises(InvalidArgument, match=f"--max-length {length}: .*read 5 to 800 tokens"):
            open_classifier(folder, max_length=length)


def test_optimize_says_that_texts_are_cut_and_takes_another_length(tmp_path, capsys, monkeypatch):
    folder = save(
        tmp_path / "model", "modernbert", max_position_embeddings=900,
        tokenizer={"model_max_length": 800},
    )  # fmt: skip
    seen = []

    def stopped(job):
        seen.append(job.classifier.max_length)
        raise KeyboardInterrupt

    monkeypatch.setattr(answers, "store_reference", stopped)
    command = ["optimize", str(folder), "--out", str(tmp_path / "out")]
    assert cli.main(command) == cli.INTERRUPTED
    said = capsys.readouterr().out
    assert "truncated to 512 tokens, but this model can read 800. --max-length 800" in said
    assert cli.main([*command, "--max-length", "640"]) == cli.INTERRUPTED
    assert "truncated to 640 tokens" in capsys.readouterr().out
    assert seen == [512, 640]
    assert cli.main([*command, "--max-length", "801"]) == cli.CANNOT
    assert "--max-length 801" in capsys.readouterr().err
