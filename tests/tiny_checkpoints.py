"""Tiny checkpoints, as Transformers saves them."""

import json

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = ("good", "bad", "fine", "poor", "film", "plot", "actor", "scene", "joy", "bore", "a", "the")
SIZE = {
    "vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 80,
}  # fmt: skip
SMALL_BERT = {"model_type": "bert"} | SIZE
FAMILIES = {  # settings, and how many Attention nodes fusion must create
    "bert": (SMALL_BERT, 2),
    "distilbert": (
        {"vocab_size": 120, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64,
         "max_position_embeddings": 80}, 2),
    "roberta": (SIZE, 2),
    "xlm-roberta": (SIZE, 2),
    "electra": (SIZE | {"embedding_size": 16}, 2),
    "albert": (SIZE | {"embedding_size": 16}, 2),
    "deberta-v2": (
        SIZE | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16,
                "share_att_key": True, "type_vocab_size": 0, "position_biased_input": False}, 0),
    "mpnet": (SIZE, 0),
    "modernbert": (
        SIZE | {"local_attention": 8, "global_attn_every_n_layers": 2, "bos_token_id": 2,
                "eos_token_id": 3}, 0),
}  # fmt: skip


def save(
    folder, family="bert", padding_side="right", seed=0, tokenizer=None, patch=None, **settings
):
    """Save a seeded tiny classifier and a tokenizer of whole words with save_pretrained.

    tokenizer: settings of the tokenizer. patch: fields of config.json that are overwritten.
    """
    words(folder, **{"padding_side": padding_side} | (tokenizer or {}))
    values = FAMILIES.get(family, (SIZE,))[0] | {"pad_token_id": 0} | settings
    values.pop("model_type", None)
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(family, **values)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    for weights in model.parameters():  # with the small initial ones, answers would be similar
        weights.data *= 3
    model.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (patch or {})))
    return folder


def words(folder, **settings):
    """Save a tokenizer of whole words; the second text of a pair is in segment 1."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep")}
    given = names | {"model_max_length": 64} | settings
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given).save_pretrained(folder)


def texts(count=60, seed=0):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 20))) for _ in range(count)]
