"""Any encoder of the Transformers library, with a head or for vectors: open it, run it.

The course's own classifier is in ``finetuning``; this module opens what learners bring.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.models import checkpoint as checkpoints
from tutorial_utils.models import loading, positions, tokenizer
from tutorial_utils.models.checkpoint import BadClassifier, Checkpoint
from tutorial_utils.models.loading import LONGEST
from tutorial_utils.models.pooling import MODES, Pooled, Pooling
from tutorial_utils.models.torch_inference import Predict, predictor
from tutorial_utils.runtime import tokenization
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.inference import random_inputs
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import named

__all__ = ["LONGEST", "BadClassifier", "Classifier", "open_classifier"]


@dataclass(frozen=True)
class Classifier:
    """What has to be known about a classifier, or an encoder, besides its weights.

    source: its folder, or its name on the hub. inputs: those that it takes. labels: none for an
    encoder. vocabulary: the range of ordinary token ids. task: one of ``tasks.TASKS``. max_length:
    tokens that a text is truncated to. longest: tokens that model and tokenizer could read.
    revision: the commit on the hub. pooling: of an encoder. operations: multiplications and
    additions that a token costs.
    """

    source: str
    family: str
    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    task: str
    vocabulary: tuple[int, int]
    padding: Padding
    max_length: int
    longest: int
    revision: str | None = None
    pooling: Pooling | None = None
    operations: float = 0.0

    def module(self):
        """The PyTorch model in fp32, ready for inference. It returns its task's output only."""
        loaded = loading.load(checkpoints.read(self.source, self.revision), self.pooling)
        return Pooled(loaded, self.pooling) if self.pooling else loaded

    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, without padding, truncating to ``max_length`` tokens."""
        return tokenizer.prepared(self.source, self.revision, self.max_length)

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


def open_classifier(
    source: str | Path,
    max_length: int | None = None,
    pooling: str | None = None,
    normalize: bool = False,
) -> Classifier:
    """Look at a model folder (or a name on the hub) and find out its inputs and labels.

    max_length: tokens that a text is truncated to; by default what the model reads, at most
    ``LONGEST``. pooling: one of ``pooling.MODES``, for an encoder without a head, whose vectors
    are the answers. A folder of sentence-transformers says it itself. normalize: vectors get the
    length 1, as they do where such a folder says so.

    Raises:
        BadClassifier: no such model, another kind of model, or no fast tokenizer; the message says
            what to do.
        InvalidArgument: model and tokenizer cannot read ``max_length`` tokens.
    """
    checkpoint = checkpoints.read(source)
    pools = _pooling(checkpoint, pooling, normalize)
    theirs = tokenizer.of_source(checkpoint.source, checkpoint.revision)
    model = loading.load(checkpoint, pools)
    known = len(model.get_input_embeddings().weight)
    if len(theirs) > known:
        raise BadClassifier(
            f"{checkpoint}: its tokenizer knows {len(theirs):,} tokens, but its model only "
            f"{known:,}. Save the tokenizer that the model was trained with."
        )
    given = (theirs.pad_token_id, model.config.pad_token_id)
    # The first ids are special tokens in most vocabularies.
    vocabulary = (min(1_000, known // 2), known)
    ordinary = next(i for i in range(*vocabulary) if i not in given)
    longest = loading.longest(checkpoint, model, ordinary, theirs.model_max_length, pools)
    least = theirs.num_special_tokens_to_add(pair=True) + 2
    wanted = longest if max_length is None else max_length
    if not least <= wanted <= longest:
        raise InvalidArgument(
            f"{checkpoint} cannot be used with --max-length {wanted}: its model and "
            f"its tokenizer (model_max_length, max_seq_length) read {least} to {longest:,} tokens."
        )
    max_length = max_length or min(longest, LONGEST)
    tokenizer.check(checkpoint, max_length)
    if pools and pools.lowercase and theirs.tokenize("Ä B") != theirs.tokenize("ä b"):
        raise BadClassifier(
            f"{checkpoint}: its sentence-transformers config sets do_lower_case, but its tokenizer "
            "does not. Load it with sentence-transformers 5 or later and save it again, which "
            "corrects that."
        )
    return Classifier(
        source=checkpoint.source,
        family=checkpoint.config.model_type,
        inputs=loading.inputs(checkpoint, model),
        labels=() if pools else checkpoint.labels,
        task="embedding" if pools else checkpoint.task,
        vocabulary=vocabulary,
        # On the left it moves positions. A head was trained with that; a vector is the text's own.
        padding=Padding(
            next((i for i in given if i is not None), 0), "right" if pools else theirs.padding_side
        ),
        max_length=max_length,
        longest=longest,
        revision=checkpoint.revision,
        pooling=pools,
        operations=positions.operations(model, ordinary),
    )


def cut(classifier: Classifier) -> str | None:
    """A remark if a classifier truncates texts that it could read."""
    if classifier.max_length == classifier.longest:
        return None
    return (
        f"Texts are truncated to {classifier.max_length:,} tokens, but this model can read "
        f"{classifier.longest:,}. --max-length {classifier.longest} keeps them whole, but long "
        "texts take longer."
    )


def prompts(classifier: Classifier) -> str | None:
    """A remark if sentence-transformers would put something before the texts."""
    if not classifier.pooling or not classifier.pooling.prompts:
        return None
    given = ", ".join(f"{name}: {text!r}" for name, text in classifier.pooling.prompts)
    return (
        f"This model was trained with prompts ({given}). We add nothing to your texts, so put the "
        "prompts before them yourself, in --data and in requests."
    )


def activation(classifier: Classifier) -> str | None:
    """A remark if sentence-transformers makes another number of the same single logit."""
    config = checkpoints.read(classifier.source, classifier.revision).config
    own = getattr(config, "sentence_transformers", None)
    theirs = own.get("activation_fn") if isinstance(own, dict) else None
    theirs = theirs or getattr(config, "sbert_ce_default_activation_function", None)
    is_value = named(classifier.task).measured_by_spread
    name, ours = str(theirs).rpartition(".")[2], "Identity" if is_value else "Sigmoid"
    if theirs is None or len(classifier.labels) != 1 or name == ours:
        return None
    told = {"Identity": "the logit itself"}
    back = "p = 1 / (1 + exp(−logit))" if is_value else "logit = log(p / (1 − p))"
    return (
        f"By config.json, sentence-transformers returns {told.get(name, f'{name} of the logit')}, "
        f"but here the answer is {told.get(ours, 'its sigmoid')}: same order, different numbers. "
        f"{back} converts them."
    )


def _pooling(checkpoint: Checkpoint, mode: str | None, normalize: bool) -> Pooling | None:
    """How vectors are pooled, from the folder or the arguments; None for a classifier."""
    own, ways = checkpoint.pooling, ", ".join(MODES)
    if mode not in (None, *MODES):
        raise InvalidArgument(f"--pooling {mode} is unknown. Give one of {ways}.")
    if own:
        if mode not in (None, own.mode):
            raise InvalidArgument(
                f"{checkpoint} already says that it pools by {own.mode} (modules.json), so leave "
                f"out --pooling {mode}."
            )
        return replace(own, normalize=own.normalize or normalize)
    encoder = not checkpoint.labels
    if encoder and mode is None:
        raise BadClassifier(
            f"{checkpoint} is a {checkpoint.architecture}, an encoder without a trained "
            f"classification head. For a vector of each text, give --pooling, one of {ways}, as "
            "the model's card says. For classes, fine-tune it and save a "
            f"…{checkpoints.HEAD}."
        )
    if checkpoint.architecture and not encoder and (mode or normalize):
        raise InvalidArgument(
            f"{checkpoint} is a {checkpoint.architecture}, whose head gives the answers: leave out "
            "--pooling and --normalize. For vectors, save its encoder alone (model.base_model)."
        )
    return Pooling(mode, normalize) if mode else None
