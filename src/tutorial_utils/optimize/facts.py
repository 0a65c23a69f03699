"""Collect the facts of an ``Overview``, without exporting anything.

``describe`` takes what is already open, and ``optimize`` prints it. ``inspect`` opens model and
data. If one of them cannot be used, the overview says why, next to everything else it found out.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tutorial_utils.core import scoped
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.data import labelled
from tutorial_utils.data.labelled import Labelled
from tutorial_utils.graph import fusion
from tutorial_utils.models import checkpoint as checkpoints
from tutorial_utils.models import classifiers, tokenizer, weights
from tutorial_utils.models.checkpoint import Checkpoint
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize import duration
from tutorial_utils.optimize.job import Effort
from tutorial_utils.optimize.overview import Data, Overview, Tokens
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.tasks import named

T = TypeVar("T")
UNKNOWN = 0.05  # share of tokens; above it, there is a remark


def inspect(
    source: str | Path,
    *,
    data: Path | None = None,
    reading: labelled.Reading = labelled.Reading(),
    max_length: int | None = None,
    pooling: str | None = None,
    normalize: bool = False,
) -> Overview:
    """Look at a model, and at data for it, as ``optimize`` would; its arguments mean the same.

    What is wrong with them is in ``Overview.error``, and not raised.
    """
    classifier = given = texts = error = None
    try:
        classifier = classifiers.open_classifier(source, max_length, pooling, normalize)
        given = labelled.read(data, classifier.labels, classifier.task, reading) if data else None
        classifier, texts = ready(classifier, given)
    except (TutorialError, OSError, MemoryError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    return describe(source, classifier, data, given, texts, error)


def ready(
    classifier: Classifier, given: Labelled | None, most: int = Effort().max_texts
) -> tuple[Classifier, Texts]:
    """The texts to measure on, at most ``most``, and the classifier with the task that they show.

    Raises:
        BadData: the model cannot read a text, or the labels cannot tell good from bad.
    """
    task, right = named(classifier.task), given.labels if given else None
    if given and right is not None and not task.fits(right, given.groups is not None):
        classifier = replace(classifier, task="regression")  # one logit, and labels of any value
    texts = Texts.of(classifier, given, most)
    texts.check(task)
    return classifier, texts


def describe(
    source: str | Path,
    classifier: Classifier | None,
    data: Path | None,
    given: Labelled | None,
    texts: Texts | None,
    error: str | None = None,
) -> Overview:
    """The facts of what could be opened; of a model that could not, those that its files tell."""
    revision = classifier.revision if classifier else None
    here = classifier or Path(source).is_dir()  # or else nothing is downloaded to describe it
    checkpoint = _tried(lambda: checkpoints.read(source, revision)) if here else None
    known = classifier or checkpoint
    place = known.source if known else str(source)  # a folder may hold the encoder in another one
    raw = _tried(lambda: dict(json.loads(Path(place, "config.json").read_bytes()))) or {}
    named_first = _tried(lambda: str(np.ravel(raw["architectures"] or [])[0]))
    held = _tried(lambda: weights.read(place, revision))
    pooling = classifier.pooling if classifier else None
    full = quick = None
    if classifier and held and texts:
        count = max(len(given or ()), len(texts))  # the texts of pairs may count singly
        full, quick = duration.minutes(classifier, held.parameters, texts, count)
    return Overview(
        source=str(source),
        family=checkpoint.config.model_type if checkpoint else raw.get("model_type"),
        architecture=checkpoint.architecture if checkpoint else named_first,
        weights=held,
        task=known.task if known else None,
        decided_by=_decided_by(known, checkpoint) if known and checkpoint else None,
        labels=known.labels if known else (),
        width=getattr(checkpoint.config, "hidden_size", None) if checkpoint and pooling else None,
        pooling=pooling,
        inputs=classifier.inputs if classifier else (),
        max_length=classifier.max_length if classifier else None,
        longest=classifier.longest if classifier else None,
        tokenizer=_tried(lambda: _tokens(place, revision, classifier)),
        fusions=_fusions(checkpoint.config) if checkpoint else None,
        data=_data(data, given, classifier, texts) if data and given and classifier else None,
        minutes=full,
        quick_minutes=quick,
        remarks=tuple(_remarks(classifier, data, given, texts)) if classifier else (),
        error=error,
    )


def remarks(classifier: Classifier, texts: Texts | None) -> Iterator[str]:
    """What may surprise people about the answers."""
    told = (classifiers.prompts(classifier), classifiers.activation(classifier))
    yield from filter(None, told)
    theirs = tokenizer.of_source(classifier.source, classifier.revision)
    unknown, names = theirs.unk_token_id, ("pad", "cls", "sep", "bos", "eos")
    others = [getattr(theirs, f"{name}_token_id") for name in names]
    if texts and texts.texts and unknown is not None and unknown not in others:
        ids = np.concatenate(texts.rows)
        share = np.mean(ids[~np.isin(ids, [i for i in others if i is not None])] == unknown)
        if share > UNKNOWN:
            yield (
                f"The tokenizer does not know {share:.0%} of the data's tokens "
                f"({theirs.unk_token}). Give the one that the model was trained with; if its "
                "vocabulary is in lower case, tokenizer_config.json needs `do_lower_case: true`."
            )


def _tried(read: Callable[[], T]) -> T | None:
    """What can be read, or None: libraries raise many kinds of errors on half-written files."""
    try:
        with scoped.quiet_transformers():
            return read()
    except Exception:
        return None


def _tokens(source: str, revision: str | None, classifier: Classifier | None) -> Tokens | None:
    from transformers import AutoTokenizer

    if classifier:
        theirs = tokenizer.of_source(source, revision)  # open already
    else:
        theirs = AutoTokenizer.from_pretrained(source, revision=revision, local_files_only=True)
    if len(theirs) <= len(theirs.all_special_tokens):  # made by the library, without any file
        return None
    side = classifier.padding.side if classifier else theirs.padding_side  # vectors: on the right
    kind = type(theirs.backend_tokenizer.model if theirs.is_fast else theirs).__name__
    return Tokens(kind, len(theirs), theirs.is_fast, theirs.truncation_side, side)


def _decided_by(known: Classifier | Checkpoint, checkpoint: Checkpoint) -> str:
    if not known.labels:
        return "modules.json" if checkpoint.pooling else "an encoder without a head"
    if checkpoint.config.problem_type:
        return "`problem_type` in config.json"
    if len(checkpoint.labels) > 1:
        return f"{len(checkpoint.labels)} outputs, and no `problem_type`"
    if known.task != checkpoint.task:
        return "one output, no `problem_type`, and labels in the data that are not 0 and 1"
    return (
        "one output and no `problem_type`, as transformers.pipeline reads it; with labels that are "
        "not 0 and 1, it is a regression"
    )


def _fusions(config: Any) -> tuple[str, ...] | None:
    """Operators that are known to be found; None if the family was not tried."""
    known = fusion.KNOWN.get(config.model_type)
    names = ("hidden_act", "hidden_activation", "activation")
    gelu = "gelu" in {getattr(config, name, None) for name in names}
    return known and tuple(op for op in known if gelu or not op.endswith("Gelu"))


def _data(file: Path, given: Labelled, classifier: Classifier, texts: Texts | None) -> Data:
    task, right, majority = named(classifier.task), given.labels, None
    if right is not None and task.needs_labels and not task.measured_by_spread:
        majority = float(np.unique(right, axis=0, return_counts=True)[1].max() / len(given))
    return Data(
        file=Path(file).name,
        texts=len(given),
        reads=given.reads,
        understood=given.understood,
        skipped=given.skipped,
        majority=majority,
        truncated=_truncated(classifier, texts) if texts else None,
    )


def _truncated(classifier: Classifier, texts: Texts) -> float:
    """Share of the texts that have more tokens than the model is to read."""
    most = classifier.max_length
    full = [t for t, row in zip(texts.texts or (), texts.rows, strict=True) if len(row) == most]
    longer = replace(classifier, max_length=most + 1).encode(full) if full else []
    return sum(len(row) > most for row in longer) / len(texts)


def _remarks(
    classifier: Classifier, data: Path | None, given: Labelled | None, texts: Texts | None
) -> Iterator[str]:
    yield from filter(None, [classifiers.cut(classifier)])
    yield from remarks(classifier, texts)
    if data is None:
        yield (
            "Without labelled texts (--data), accuracy is not measured, and agreement only on "
            "random tokens."
        )
    yield from given.notes if given else ()
