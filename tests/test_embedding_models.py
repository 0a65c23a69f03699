"""Encoders and folders of sentence-transformers: opened, exported, measured, promoted, served."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import optimizing
import pytest
import service
import torch
import transformers
from scipy import stats
from tiny_checkpoints import FAMILIES, save, texts, words

from tutorial_utils import cli, quality
from tutorial_utils.core import paths
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.data import labelled, reviews
from tutorial_utils.data.labelled import Labelled
from tutorial_utils.graph import inspection
from tutorial_utils.models import tokenizer
from tutorial_utils.models.checkpoint import BadClassifier
from tutorial_utils.models.classifiers import open_classifier
from tutorial_utils.optimize import answers, gate, optimize, report, variants
from tutorial_utils.optimize.job import QUICK, Job
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.registry import load, read_manifest
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.serving.settings import Settings

LINES = ["good", *texts(8), "good film " * 40]  # one token, and more than the model reads
PATHS = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}


def encoder(folder, family="bert", kind="AutoModel", tokenizer=None, **settings):
    """A seeded tiny encoder without a head, and its tokenizer."""
    words(folder, **(tokenizer or {}))
    config = transformers.AutoConfig.for_model(
        **FAMILIES[family][0] | {"model_type": family, "pad_token_id": 0} | settings
    )
    torch.manual_seed(0)
    model = getattr(transformers, kind).from_config(config)
    for weights in model.parameters():  # with the small initial ones, vectors would be similar
        weights.data *= 3
    model.save_pretrained(folder)
    return folder


def sentence_transformer(folder, pooling, *, modules=tuple(PATHS), inside="", **reading):
    """A folder as sentence-transformers writes it; inside: where it puts the encoder."""
    encoder(folder / inside)
    listed = [
        {"idx": i, "name": str(i), "path": PATHS.get(kind, f"{i}_{kind}") or inside,
         "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(modules)
    ]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / inside / "sentence_bert_config.json").write_text(json.dumps(reading))
    return folder


def defined(folder, lines, mode, normalize=False, length=64):
    """Vectors as defined, each text by itself, so that no padding is involved."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    reader, found = transformers.AutoTokenizer.from_pretrained(folder), []
    takes = ["input_ids", "attention_mask"]
    for line in lines:
        given = reader(line, return_tensors="pt", truncation=True, max_length=length)
        with torch.inference_mode():
            hidden = model(**{k: given[k] for k in takes}).last_hidden_state[0].numpy()
        vector = {"mean": hidden.mean(axis=0), "cls": hidden[0], "max": hidden.max(axis=0)}[mode]
        found.append(vector / np.linalg.norm(vector) if normalize else vector)
    return np.array(found)


def by_us(classifier, lines):
    rows = classifier.encode(lines)
    return classifier.predictor()(batching.pad(rows, padding=classifier.padding))


# Opening.


@pytest.mark.parametrize(
    ("family", "side", "mode"),
    [
        ("bert", "left", "mean"),
        ("bert", "left", "cls"),
        ("bert", "left", "max"),
        ("distilbert", "right", "mean"),
        ("modernbert", "left", "cls"),
    ],
)
def test_a_bare_encoder_gives_the_vector_of_each_text_alone(family, side, mode, tmp_path):
    folder = encoder(tmp_path / "model", family, tokenizer={"padding_side": side})
    classifier = open_classifier(folder, pooling=mode)
    assert (classifier.task, classifier.labels) == ("embedding", ())
    right = defined(folder, LINES, mode)
    assert np.ptp(right, axis=0).max() > 0.3  # vectors that differ
    assert np.allclose(by_us(classifier, LINES), right, atol=1e-4)
    scaled = by_us(open_classifier(folder, pooling=mode, normalize=True), LINES)
    assert np.allclose(scaled, defined(folder, LINES, mode, normalize=True), atol=1e-5)


def older(*true):
    ways = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    return {"word_embedding_dimension": 32} | {f"pooling_mode_{w}": w in true for w in ways}


@pytest.mark.parametrize(
    ("pooling", "mode", "inside", "normalized"),
    [
        (older("cls_token"), "cls", "", True),
        (older("mean_tokens"), "mean", "0_Transformer", True),
        (older("max_tokens"), "max", "0_BERT", False),
        ({"pooling_mode": "cls", "include_prompt": True}, "cls", "", False),
        ({"pooling_mode": ["mean"]}, "mean", "", True),
    ],
)
def test_a_folder_of_sentence_transformers_says_how_it_pools(
    pooling, mode, inside, normalized, tmp_path
):
    modules = tuple(PATHS)[: 2 + normalized]
    folder = sentence_transformer(
        tmp_path / "model", pooling, modules=modules, inside=inside, max_seq_length=10
    )
    classifier = open_classifier(folder)
    assert (classifier.max_length, classifier.longest) == (10, 10)
    right = defined(folder / inside, LINES, mode, normalize=normalized, length=10)
    assert np.allclose(by_us(classifier, LINES), right, atol=1e-5)
    assert open_classifier(folder, pooling=mode).pooling == classifier.pooling
    scaled = by_us(open_classifier(folder, normalize=True), LINES)
    assert np.allclose(np.linalg.norm(scaled, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "more", "message"),
    [
        (older("mean_sqrt_len_tokens"), {}, r"1_Pooling/config.json pools by mean_sqrt_len_tokens"),
        (older("lasttoken"), {}, "pools by lasttoken, but only mean, cls, max"),
        (older("cls_token", "mean_tokens"), {}, "pools by cls and mean"),
        ({"pooling_mode": ["cls", "max"]}, {}, "pools by cls and max"),
        ({}, {}, "pools by nothing"),
        ({"pooling_mode": "mean", "include_prompt": False}, {}, "without the prompt's tokens"),
        (older("mean_tokens"), {"modules": ("Transformer", "Pooling", "Dense")}, "Pooling, Dense"),
        (older("mean_tokens"), {"modules": ("Transformer", "SpladePooling")}, "SpladePooling"),
        (older("mean_tokens"), {"modules": ("Transformer", "Normalize", "Pooling")}, "this order"),
        (older("mean_tokens"), {"max_seq_length": "256"}, "max_seq_length is '256'"),
        (older("mean_tokens"), {"modules": ("StaticEmbedding",)}, "lists StaticEmbedding"),
    ],
)  # fmt: skip
def test_other_modules_and_ways_of_pooling_are_refused_by_name(pooling, more, message, tmp_path):
    with pytest.raises(BadClassifier, match=f"^model: .*{message}"):
        open_classifier(sentence_transformer(tmp_path / "model", pooling, **more))


def test_modules_with_code_of_their_own_are_refused(tmp_path):
    folder = sentence_transformer(tmp_path / "model", older("mean_tokens"))
    file = folder / "modules.json"
    file.write_text(file.read_text().replace("sentence_transformers.models.Tr", "custom_st.Tr"))
    with pytest.raises(BadClassifier, match=r"custom_st\.Transformer"):
        open_classifier(folder)


@pytest.mark.parametrize("content", ["[", "{}", '[{"type": 3}]', '[{"type": "x"}]', "3", '"x"'])
@pytest.mark.parametrize("file", ["modules.json", "1_Pooling/config.json"])
def test_broken_files_are_errors_of_the_input(file, content, tmp_path):
    folder = sentence_transformer(tmp_path / "model", older("mean_tokens"))
    (folder / file).write_text(content)
    with pytest.raises(BadClassifier, match="model"):
        open_classifier(folder)


@pytest.mark.parametrize(
    ("kind", "family"),
    [("AutoModel", "electra"), ("AutoModelForMaskedLM", "roberta"),
     ("AutoModelForPreTraining", "electra")],
)  # fmt: skip
def test_an_encoder_needs_the_flag_whatever_head_it_was_trained_with(kind, family, tmp_path):
    folder = encoder(tmp_path / "model", family, kind)
    with pytest.raises(BadClassifier, match=r"without a trained .* head.*--pooling, one of mean"):
        open_classifier(folder)
    right = defined(folder, LINES, "mean")
    assert np.allclose(by_us(open_classifier(folder, pooling="mean"), LINES), right, atol=1e-5)


def test_flags_that_contradict_the_model_are_refused(tmp_path):
    head = save(tmp_path / "head")
    with pytest.raises(InvalidArgument, match=r"is a BertForSequenceClassification.*--pooling"):
        open_classifier(head, pooling="mean")
    with pytest.raises(InvalidArgument, match="--normalize"):
        open_classifier(head, normalize=True)
    with pytest.raises(InvalidArgument, match=r"--pooling lasttoken is unknown\. .*mean, cls, max"):
        open_classifier(encoder(tmp_path / "bare"), pooling="lasttoken")
    folder = sentence_transformer(tmp_path / "model", older("mean_tokens"))
    with pytest.raises(InvalidArgument, match=r"pools by mean \(modules.json\).*--pooling cls"):
        open_classifier(folder, pooling="cls")


def test_without_an_architecture_the_flag_decides(tmp_path):
    folder = encoder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config.pop("architectures")
    (folder / "config.json").write_text(json.dumps(config))
    assert open_classifier(folder, pooling="cls").task == "embedding"
    with pytest.raises(BadClassifier, match="no trained classification head"):
        open_classifier(folder)


def test_a_cross_encoder_of_sentence_transformers_stays_a_classifier(tmp_path):
    folder = save(tmp_path / "model", num_labels=1)
    module = {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    (folder / "modules.json").write_text(json.dumps([module]))
    assert open_classifier(folder).task == "score"


def test_labels_that_are_left_over_in_the_config_do_not_matter(tmp_path):
    folder = encoder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "a", "2": "c"}, "problem_type": "unknown"}
    (folder / "config.json").write_text(json.dumps(config))
    assert open_classifier(folder, pooling="cls").labels == ()


def test_an_encoder_with_missing_weights_is_refused_and_a_missing_pooler_is_not(tmp_path):
    folder = encoder(tmp_path / "model")
    model = transformers.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith("pooler.")}
    torch.save(kept, folder / "pytorch_model.bin")
    assert open_classifier(folder, pooling="cls").task == "embedding"
    kept.pop("encoder.layer.0.output.dense.weight")
    torch.save(kept, folder / "pytorch_model.bin")
    with pytest.raises(BadClassifier, match=r"no trained encoder.*layer\.0\.output\.dense"):
        open_classifier(folder, pooling="cls")


def test_lower_case_that_the_tokenizer_does_not_do_is_refused(tmp_path):
    given = {"do_lower_case": True}
    folder = sentence_transformer(tmp_path / "model", older("mean_tokens"), **given)
    file = folder / "tokenizer.json"
    plain = json.loads(file.read_text())
    plain["model"]["vocab"] |= {"B": 20}
    file.write_text(json.dumps(plain))
    with pytest.raises(BadClassifier, match="do_lower_case"):
        open_classifier(folder)
    file.write_text(json.dumps(plain | {"normalizer": {"type": "Lowercase"}}))
    tokenizer.of_source.cache_clear()
    assert open_classifier(folder).task == "embedding"


# Files.


@pytest.mark.parametrize(
    ("family", "mode", "normalize", "one_query"),
    [
        ("bert", "cls", False, 1),
        pytest.param("bert", "mean", True, 0, marks=pytest.mark.slow),  # `promoted` has it, too
        pytest.param("roberta", "max", False, 0, marks=pytest.mark.slow),
    ],
)
def test_each_file_gives_the_vectors_of_pytorch(family, mode, normalize, one_query, tmp_path):
    folder = encoder(tmp_path / "model", family, tokenizer={"padding_side": "left"})
    classifier = open_classifier(folder, pooling=mode, normalize=normalize)
    given = Labelled(tuple(texts(80)), None)
    job = Job(classifier, Texts.of(classifier, given), tmp_path / "work")
    answers.store_reference(job)
    made = [variants.exported(job), *variants.fused(job)]
    assert [one.problem for one in made] == [None] * 3
    rows = batching.pad(classifier.encode(LINES), padding=classifier.padding)
    right = defined(folder, LINES, mode, normalize)
    for one in made:
        (output,) = onnx.load(job.file(one.name)).graph.output
        assert (output.name, output.type.tensor_type.elem_type) == ("embedding", 1)
        assert np.allclose(onnx_predict(job.file(one.name))(rows), right, atol=1e-4)
    # Of the last layer, only what is read is computed.
    operators = inspection.op_counts(job.file("fused_paying"))
    assert operators["MultiHeadAttention"] == one_query
    eight = variants.int8(job, "fused_paying")
    assert eight.problem is None
    found = onnx_predict(job.file(eight.name))(rows)
    assert quality.cosine(found, right).min() > 0.98
    assert not np.array_equal(found, right)


# Texts.


def test_the_texts_of_a_pair_are_embedded_alone_and_stay_together(tmp_path):
    classifier = open_classifier(encoder(tmp_path / "model"), pooling="mean")
    lines, scores = texts(202), np.arange(101.0)
    pairs = tuple(zip(lines[::2], lines[1::2], strict=True))
    made = Texts.of(classifier, Labelled(pairs, scores), most=51)
    assert (len(made), made.reads) == (50, "text")
    assert made.rows == tuple(classifier.encode(made.texts))
    assert len(made.choosing) % 2 == 0
    for first, second, label in zip(
        made.texts[::2], made.texts[1::2], made.labels[::2], strict=True
    ):
        assert pairs[int(label)] == (first, second)
    assert np.array_equal(made.labels[::2], made.labels[1::2])
    unscored = Texts.of(classifier, Labelled(pairs, None))
    assert unscored.labels is None
    assert sorted(unscored.texts) == sorted(lines)


def test_many_pairs_are_drawn_quickly():
    pairs = tuple(("a", "b") for _ in range(200_000))  # the square of which is out of reach
    classifier = SimpleNamespace(task="embedding", encode=lambda given: [[1]] * len(given))
    assert len(Texts.of(classifier, Labelled(pairs, np.arange(200_000.0)))) == 4_000


def test_copies_of_a_text_are_neighbours_of_each_other_in_any_order():
    rng = np.random.default_rng(0)
    right = rng.normal(0, 1, (40, 8)).repeat(30, axis=0)
    near = right + rng.normal(0, 1e-4, right.shape)
    assert quality.common_neighbours(near, right) == 1
    assert quality.common_neighbours(rng.normal(0, 1, right.shape), right) < 0.1


# The whole way.


def pairs_of(folder, file):
    """Pairs with the step of their cosine as the label."""
    lines = [line for line in texts(620) if len(line.split()) > 1][:560]
    vectors = by_us(open_classifier(folder), lines)
    scores = quality.cosine(vectors[::2], vectors[1::2])
    steps = np.searchsorted(np.quantile(scores, [0.2, 0.4, 0.6, 0.8]), scores)
    rows = zip(lines[::2], lines[1::2], steps, strict=True)
    file.write_text("text,text_pair,label\n" + "\n".join(f"{a},{b},{c}" for a, b, c in rows))
    return file


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    """A folder of sentence-transformers, promoted by pairs with a score; and what was said."""
    folder, said = tmp_path_factory.mktemp("promoted"), []
    source = sentence_transformer(folder / "model", older("mean_tokens"), max_seq_length=24)
    prompts = {"prompts": {"query": "good ", "document": ""}, "default_prompt_name": None}
    (source / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    pairs_of(source, folder / "pairs.csv")
    with pytest.MonkeyPatch.context() as patch:
        optimizing.fixed_times(patch)
        outcome = optimize(
            source, folder / "out", data=folder / "pairs.csv", effort=QUICK, progress=said.append
        )
    report.write(outcome, folder / "out")
    return folder, outcome, said


def test_a_folder_is_promoted_by_pairs_with_a_score(promoted):
    folder, outcome, said = promoted
    assert outcome.promoted, outcome.checks
    checks = {check.name: check for check in outcome.checks}
    assert {
        "mean cosine with PyTorch",
        "5th percentile of the cosine with PyTorch",
        "share of the 10 nearest texts in common with PyTorch",
        "score against PyTorch",
    } <= set(checks)
    found = outcome.quality
    assert found.metric == "Spearman"
    classifier = open_classifier(folder / "model")
    judged = Texts.of(classifier, labelled.read(folder / "pairs.csv", (), "embedding"))
    vectors = by_us(classifier, [judged.texts[i] for i in judged.judging])
    cosines = quality.cosine(vectors[::2], vectors[1::2])
    right = stats.spearmanr(cosines, judged.labels[judged.judging][::2]).statistic
    assert found.score == pytest.approx(right, abs=0.02)
    manifest = read_manifest(folder / "out" / "registry" / "model" / "1")
    assert (manifest.task, manifest.labels, manifest.reads) == ("embedding", (), "text")
    assert manifest.figures["mean cosine"] > 0.99
    told = (folder / "out" / report.REPORT).read_text()
    assert "Drift is watched in: length, vocabulary, disagreement." in told
    (least,) = re.findall(r"in some batch have a cosine of at least ([01]\.\d+) ", told)
    assert outcome.judged[0].candidate.precision == "int8"
    assert ("--batch-invariant prevents this" in told) == (float(least) < 0.9999)
    assert re.search(r"^\| stage .*\| mean cosine ", told, re.M)
    assert "prompts (query: 'good ')" in told
    assert any("prompts" in line for line in said)


def test_the_service_answers_with_the_vectors_of_the_promoted_version(promoted):
    folder, lines = promoted[0], [*texts(12, seed=3), "good film " * 40]
    right = defined(folder / "model", lines, "mean", normalize=True, length=24)
    with service.running(Settings(registry=folder / "out" / "registry", model="model")) as client:
        found = np.array(client.post("/embed", json={"texts": lines}).json()["embeddings"])
        info = client.get("/info").json()
    assert quality.cosine(found, right).min() > 0.98
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert (info["max_tokens"], info["labels"]) == (24, [])
    assert set(info["watched"]) == {"length", "vocabulary", "disagreement"}


@pytest.mark.parametrize(
    ("tokens", "compared"), [(120, True), pytest.param(400, False, marks=pytest.mark.slow)]
)
def test_another_encoder_is_compared_with_the_version_in_use_whatever_its_width(
    tokens, compared, promoted, tmp_path, monkeypatch
):
    optimizing.fixed_times(monkeypatch)
    shutil.copytree(promoted[0] / "out" / "registry", tmp_path / "registry")
    wider = encoder(tmp_path / "wider", hidden_size=48, num_attention_heads=3, vocab_size=tokens)
    outcome = optimize(
        wider, tmp_path / "out", data=promoted[0] / "pairs.csv", registry=tmp_path / "registry",
        effort=QUICK, pooling="cls", limits=gate.Limits(score_fall=2), progress=lambda line: None,
    )  # fmt: skip
    assert outcome.version == "2", outcome.checks
    assert ("score against version 1" in {check.name for check in outcome.checks}) == compared
    told = "100.0% of the texts get another answer than from version 1."
    assert (told in outcome.notes) == compared
    assert any("cannot read this model's tokens" in n for n in outcome.notes) != compared
    assert load(tmp_path / "registry", "model").width == 48


@pytest.mark.parametrize("given", ["text\n", pytest.param(None, marks=pytest.mark.slow)])
def test_texts_without_labels_are_enough_and_so_are_none(given, tmp_path, monkeypatch, capsys):
    optimizing.fixed_times(monkeypatch)
    folder, data = encoder(tmp_path / "model"), []
    if given:
        (tmp_path / "texts.csv").write_text(given + "\n".join(texts(300)))
        data = ["--data", str(tmp_path / "texts.csv")]
    command = ["optimize", str(folder), "--out", str(tmp_path / "out"), "--quick", *data]
    assert cli.main(command) == cli.CANNOT
    assert "--pooling" in capsys.readouterr().err
    assert cli.main([*command, "--pooling", "mean", "--normalize"]) == cli.DONE
    told = (tmp_path / "out" / report.REPORT).read_text()
    assert ("No score was measured" in told) == bool(given)
    assert ("random tokens" in told) != bool(given)
    assert ("Drift is watched in" in told) == bool(given)
    found = load(tmp_path / "out" / "registry", "model")
    rows = batching.pad(found.encode(LINES), padding=found.recipe.padding)
    right = defined(folder, LINES, "mean", normalize=True)
    assert quality.cosine(found.logits(rows), right).min() > 0.98


@pytest.mark.built
@pytest.mark.slow
def test_the_pinned_encoder_is_promoted_and_served(tmp_path):
    """It is all-MiniLM-L6-v2, whose own pooling is the mean, normalized."""
    source = paths.home() / "assets" / "encoder"
    lines = reviews.splits().test.texts[:400]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in lines))
    outcome = optimize(
        source, tmp_path / "out", data=tmp_path / "texts.jsonl", effort=QUICK, max_length=64,
        pooling="mean", normalize=True, progress=lambda line: None,
    )  # fmt: skip
    close = {check.name: check for check in outcome.checks if "with PyTorch" in check.name}
    assert len(close) == 3
    assert all(check.passed for check in close.values()), close  # times depend on the machine
    if outcome.promoted:
        right = defined(source, lines[:20], "mean", normalize=True)
        found = load(tmp_path / "out" / "registry", "model")
        rows = batching.pad(found.encode(lines[:20]), padding=found.recipe.padding)
        assert quality.cosine(found.logits(rows), right).min() > 0.97
