"""Encoders and folders of sentence-transformers: opened, exported, measured, promoted, served."""

import json

import numpy as np
import pytest
import torch
import transformers
from tiny_checkpoints import FAMILIES, save, texts, words

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.models import tokenizer
from tutorial_utils.models.checkpoint import BadClassifier
from tutorial_utils.models.classifiers import open_classifier
from tutorial_utils.runtime import batching

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


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
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
    ("pooling", "mode"),
    [
        (older("cls_token"), "cls"),
        (older("mean_tokens"), "mean"),
        (older("max_tokens"), "max"),
        ({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"embedding_dimension": 32, "pooling_mode": ["mean"]}, "mean"),
    ],
)
@pytest.mark.parametrize("inside", ["", "0_Transformer"])
@pytest.mark.parametrize("normalized", [True, False])
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
        (older("lasttoken"), {}, "pools by lasttoken, and only mean, cls, max"),
        (older("cls_token", "mean_tokens"), {}, "pools by cls and mean"),
        ({"pooling_mode": ["cls", "max"]}, {}, "pools by cls and max"),
        ({}, {}, "pools by nothing"),
        ({"pooling_mode": "mean", "include_prompt": False}, {}, "without the prompt's tokens"),
        (older("mean_tokens"), {"modules": ("Transformer", "Pooling", "Dense")}, "Pooling, Dense"),
        (older("mean_tokens"), {"modules": ("Transformer", "SpladePooling")}, "SpladePooling"),
        (older("mean_tokens"), {"modules": ("Transformer", "Normalize", "Pooling")}, "this order"),
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
    with pytest.raises(InvalidArgument, match=r"--pooling lasttoken is unknown: .*mean, cls, max"):
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
