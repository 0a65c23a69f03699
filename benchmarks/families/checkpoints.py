"""Checkpoints of the families at their usual size: an encoder, and a head fitted to texts.

Most families get the encoder of the course's classifier (see ``widened``). Where that cannot be
written into a family, the weights of the layers are random and only the words have the vectors of
the course's encoder, so its answers are less sure. The head is fitted to 2,000 labelled sentences.
Neither size nor time depends on the weights.
"""

from pathlib import Path

import safetensors.torch
import torch
import transformers

from benchmarks.families import widened
from tutorial_utils.core import scoped
from tutorial_utils.data import assets, reviews
from tutorial_utils.data.reviews import Reviews
from tutorial_utils.models import finetuning
from tutorial_utils.runtime import batching

# Where Transformers' defaults are not the base size. The vocabularies are those of the published
# checkpoints, though all read the course's tokenizer, which knows 30,522 words.
FAMILIES: dict[str, dict] = {
    "bert": {},
    "distilbert": {},
    "roberta": {"vocab_size": 50_265, "max_position_embeddings": 514},
    "xlm-roberta": {"vocab_size": 250_002, "max_position_embeddings": 514},
    "electra": {"embedding_size": 768, "hidden_size": 768, "intermediate_size": 3072,
                "num_attention_heads": 12},
    "albert": {"vocab_size": 30_522, "hidden_size": 768, "intermediate_size": 3072,
               "num_attention_heads": 12},
    "deberta-v2": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                   "num_attention_heads": 12, "relative_attention": True, "position_buckets": 256,
                   "norm_rel_ebd": "layer_norm", "share_att_key": True,
                   "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
                   "position_biased_input": False},
    "mpnet": {},
    "modernbert": {"classifier_pooling": "mean"},  # as published
    "xlm-roberta-large": {"vocab_size": 250_002, "max_position_embeddings": 514,
                          "type_vocab_size": 1, "hidden_size": 1024, "intermediate_size": 4096,
                          "num_hidden_layers": 24, "num_attention_heads": 16},
}  # fmt: skip
WORDS = 0.1  # standard deviation of the vectors of words; that of other weights is 0.02
SENTENCES, EPOCHS, RATE = 2_000, 20, 1e-3


def save(family: str, folder: Path, sentences: int = SENTENCES, **settings) -> Path:
    """Write a checkpoint with save_pretrained; return its folder.

    sentences: to fit the head to. settings: of the config, besides those of base size.
    """
    values = FAMILIES[family] | {"pad_token_id": 0} | settings
    values |= {"id2label": dict(enumerate(reviews.LABELS)), "attn_implementation": "sdpa"}
    if family == "modernbert":
        values |= {"bos_token_id": 101, "eos_token_id": 102, "reference_compile": False}
    if family in ("deberta-v2", "mpnet"):  # they have no other attention
        values["attn_implementation"] = "eager"
    with scoped.quiet_transformers(), scoped.torch_seed(0):
        config = transformers.AutoConfig.for_model(family.removesuffix("-large"), **values)
        model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        if family in widened.FAMILIES:
            widened.widen(model, family, finetuning.load())
        else:
            give_words(model)
        fit(model, reviews.splits().train.take(range(sentences)))
        model.save_pretrained(folder)
    special = {
        f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")
    }
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(assets.fetch(assets.ENCODER) / "tokenizer.json"),
        model_max_length=512,
        **special,
    ).save_pretrained(folder)
    return folder


def encoder(family: str) -> str:
    """Where a family's encoder comes from: ``classifier``, or ``random`` but for its words."""
    return "classifier" if family in widened.FAMILIES else "random"


def give_words(model: torch.nn.Module) -> None:
    """Give the words of the course's tokenizer the vectors that its encoder has for them.

    Where the model's vectors are longer, their other numbers stay random; where they are shorter,
    they are a random projection.
    """
    stored = safetensors.torch.load_file(assets.fetch(assets.ENCODER) / "model.safetensors")
    words = stored["embeddings.word_embeddings.weight"]
    words = WORDS * (words - words.mean(0)) / words.std()
    table = model.get_input_embeddings().weight.data
    if table.shape[1] < words.shape[1]:
        words = words @ torch.randn(words.shape[1], table.shape[1]) / words.shape[1] ** 0.5
    table[: len(words), : words.shape[1]] = words


def fit(model: torch.nn.Module, texts: Reviews) -> float:
    """Fit the head to labelled texts, with the encoder frozen; return the last mean loss.

    The encoder runs once a batch. Later epochs get its stored outputs.
    """
    rows = reviews.encode(texts.texts)
    batches = batching.by_tokens([len(row) for row in rows], 2048)
    encoder = model.base_model
    inputs = [batching.pad([rows[i] for i in batch]) for batch in batches]
    given = [
        {name: torch.from_numpy(x[name]) for name in ("input_ids", "attention_mask")}
        for x in inputs
    ]
    with torch.inference_mode():
        stored = [encoder(**one) for one in given]
    labels = [torch.from_numpy(texts.labels[batch]) for batch in batches]
    inside = {id(weight) for weight in encoder.parameters()}
    head = [weight for weight in model.parameters() if id(weight) not in inside]
    optimizer = torch.optim.Adam(head, lr=RATE)
    forward = encoder.forward
    for _ in range(EPOCHS):
        losses = []
        for one, output, right in zip(given, stored, labels, strict=True):
            encoder.forward = lambda *a, _output=output, **k: _output.__class__(
                **{name: value.clone() for name, value in _output.items()}
            )
            loss = torch.nn.functional.cross_entropy(model(**one).logits, right)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    encoder.forward = forward
    return sum(losses) / len(losses)
