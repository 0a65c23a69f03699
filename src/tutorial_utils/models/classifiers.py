"""Any encoder classifier of the Transformers library: open it, encode texts for it, run it.

The series' own classifier is in ``finetuning``; here is what learners bring along.
"""

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from tutorial_utils.core import scoped
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.models.torch_inference import Predict, predictor
from tutorial_utils.runtime import tokenization
from tutorial_utils.runtime.batching import INPUTS, Padding
from tutorial_utils.runtime.inference import random_inputs
from tutorial_utils.runtime.tokenization import Text

LONGEST = 512  # tokens; a limit for models that take more, or a single text fills a batch
_TOKENIZER_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "spm.model",
    "sentencepiece.bpe.model",
)  # fmt: skip
# Families that number positions from the padding token's id on, and so have fewer of them.
_COUNTING_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl")


class BadClassifier(TutorialError, ValueError):
    """What was given is not a trained encoder classifier with a fast tokenizer."""


@dataclass(frozen=True)
class Classifier:
    """What has to be known about a classifier besides its weights.

    source: its folder, or its name on the hub. inputs: those that it takes. vocabulary: the range
    of ordinary token ids. task: one of ``tasks.TASKS``. revision: the commit on the hub.
    """

    source: str
    family: str
    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    task: str
    vocabulary: tuple[int, int]
    padding: Padding
    max_length: int
    revision: str | None = None

    def module(self):
        """The PyTorch model in fp32, ready for inference."""
        return _load(self.source)[0].float().eval()

    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, without padding, truncating to ``max_length`` tokens."""
        copied = Tokenizer.from_str(_tokenizer(self.source).backend_tokenizer.to_str())
        return tokenization.prepare(copied, self.max_length)

    def encode(self, texts: Sequence[Text]) -> list[list[int]]:
        """Token ids of each text or pair, special tokens included, not padded."""
        return tokenization.encode(self.tokenizer(), texts)

    def random_rows(self, count: int, length: int, seed: int = 0) -> list[list[int]]:
        """Seeded token ids: ``count`` rows of ``length``."""
        return random_inputs(count, length, seed, self.vocabulary)["input_ids"].tolist()

    def example(self) -> dict:
        """Inputs to trace with: tensors, int64 (2, 16)."""
        import torch

        given = random_inputs(2, 16, vocabulary=self.vocabulary)
        return {name: torch.from_numpy(given[name]) for name in self.inputs}

    def predictor(self, device: str = "cpu") -> Predict:
        """Padded inputs → logits, by PyTorch: on all cores, or in fp16 on a GPU (``cuda``)."""
        return predictor(self.module(), self.inputs, device)


def open_classifier(source: str | Path) -> Classifier:
    """Look at a model folder (or a name on the hub) and find out its inputs and labels.

    Raises:
        BadClassifier: no such model, no trained classification head, or no fast tokenizer.
    """
    source = str(source)
    model, untrained = _load(source)
    if untrained:
        raise BadClassifier(
            f"{_name(source)} holds no trained classification head ({', '.join(untrained)} would "
            "be random). Fine-tune it first, and save it with model.save_pretrained(folder)."
        )
    tokenizer, config = _tokenizer(source), model.config
    takes = inspect.signature(model.forward).parameters
    segments = getattr(config, "type_vocab_size", 0)
    inputs = [n for n in INPUTS if n in takes and (n != "token_type_ids" or segments)]
    given = (tokenizer.pad_token_id, config.pad_token_id)
    token = next((value for value in given if value is not None), 0)
    positions = getattr(config, "max_position_embeddings", None) or LONGEST
    if config.model_type in _COUNTING_FROM_PADDING:
        positions -= token + 1
    if len(tokenizer) > config.vocab_size:
        raise BadClassifier(
            f"{_name(source)}: its tokenizer knows {len(tokenizer):,} tokens, its model only "
            f"{config.vocab_size:,}. Save the tokenizer that the model was trained with."
        )
    return Classifier(
        source=source,
        family=config.model_type,
        inputs=tuple(inputs),
        labels=tuple(config.id2label[i] for i in range(config.num_labels)),
        task=_task(config),
        # The first ids are special tokens in most vocabularies.
        vocabulary=(min(1_000, config.vocab_size // 2), config.vocab_size),
        padding=Padding(token, tokenizer.padding_side),
        max_length=int(min(positions, tokenizer.model_max_length, LONGEST)),
        revision=getattr(config, "_commit_hash", None),
    )


def _task(config) -> str:
    named = {"multi_label_classification": "multi_label", "regression": "regression"}
    if config.problem_type:
        return named.get(config.problem_type, "single_label")
    return "regression" if config.num_labels == 1 else "single_label"


def _name(source: str) -> str:
    return Path(source).name if Path(source).is_dir() else source


def _load(source: str):
    """The model, and the names of the weights that its files do not hold."""
    from transformers import AutoModelForSequenceClassification

    try:
        with scoped.quiet_transformers():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source, output_loading_info=True
            )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadClassifier(
            f"{_name(source)} cannot be opened as a sequence classifier ({reason}). Give a folder "
            "written by save_pretrained, or a name on the hub where one can be reached."
        ) from None
    return model, sorted(report["missing_keys"])


@functools.cache
def _tokenizer(source: str):
    from transformers import AutoTokenizer

    folder = Path(source)
    try:
        # Without its files the library makes an empty tokenizer, to which every word is unknown.
        if folder.is_dir() and not any((folder / name).exists() for name in _TOKENIZER_FILES):
            raise FileNotFoundError
        with scoped.quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer.backend_tokenizer.to_str()
    except Exception as error:  # a half-written folder makes the library raise many kinds
        raise BadClassifier(
            f"{_name(source)} has no tokenizer that can be opened ({type(error).__name__}). Save "
            "it into the same folder with tokenizer.save_pretrained(folder)."
        ) from None
    return tokenizer
