"""The files that ``optimize`` chooses among: built from one classifier, checked against PyTorch.

Nothing is timed here. A variant that fails to build, or answers differently, is a ``Variant`` with
a problem, and the others go on.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tutorial_utils import (
    batching,
    classifiers,
    export,
    fusion,
    graph,
    paths,
    quality,
    quantization,
)
from tutorial_utils.batching import Padding
from tutorial_utils.classifiers import Classifier
from tutorial_utils.errors import TutorialError
from tutorial_utils.labelled import Labelled
from tutorial_utils.recipe import Recipe
from tutorial_utils.registry import MODEL, TOKENIZER
from tutorial_utils.session import SessionRecipe

# ONNX Runtime would fuse again, while it loads the file, what was left apart because it costs.
SESSION = SessionRecipe(disabled_optimizers=("SkipLayerNormFusion", "BiasGeluFusion"))
TUNED = replace(SESSION, huge_pages=True)  # for what is timed and promoted
LOGIT_TOLERANCE = 1e-3  # fp32 steps may move a logit by rounding only
WITHOUT_DATA = 256  # rows of random tokens that agreement is measured on
BUDGET = 1024  # tokens of a batch while answers are collected
CALIBRATED = 512  # texts that the ranges of activations are measured on, at most


class CannotExport(TutorialError, RuntimeError):
    """The exporter refuses this model, or what it wrote computes something else."""


@dataclass(frozen=True)
class Variant:
    """A file of the model, or why there is none. note: what is worth knowing of it."""

    name: str
    path: Path
    problem: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Rightness:
    """Answers beside PyTorch's: agreement, and the score where there are labels."""

    agreement: float
    score: quality.Quality | None


class Workshop:
    """A classifier, texts to try it on, and the folder that its variants are built in.

    choosing, judging: indices of the texts that variants are chosen by, and of the others, which
    only the gate looks at.
    """

    def __init__(
        self, classifier: Classifier, folder: Path, data: Labelled | None, most: int = 4_000
    ):
        self.classifier, self.folder = classifier, folder
        folder.mkdir(parents=True, exist_ok=True)
        if data:
            order = np.random.default_rng(0).permutation(len(data))[:most]
            self.texts = [data.texts[i] for i in order]
            self.rows = classifier.encode(self.texts)
            self.labels = data.labels[order]
        else:
            longest = min(128, classifier.max_length)
            lengths = np.random.default_rng(0).integers(4, longest, WITHOUT_DATA, endpoint=True)
            self.rows = [classifier.random_rows(1, n, seed)[0] for seed, n in enumerate(lengths)]
            self.texts = self.labels = None
        known = data is not None and classifier.task == "regression"
        self._label_spread = quality.spread_of(data.labels) if known else None
        self.choosing = np.arange(len(self.rows) // 4)
        self.judging = np.arange(len(self.rows) // 4, len(self.rows))

    @property
    def spread(self) -> tuple[float, ...] | None:
        """Standard deviation of each target of a regression; None for other tasks.

        That of the labels; without any, that of PyTorch's values, which ``reference`` keeps.
        """
        if self.classifier.task != "regression" or self._label_spread:
            return self._label_spread
        return quality.spread_of(np.load(self.folder / "reference.npy"))

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.onnx"

    def reference(self) -> float:
        """Keep PyTorch's logits, which every variant is compared with; return its size in MB.

        Raises:
            BadClassifier: an answer is not finite.
        """
        logits = self.logits(self.classifier.predictor())
        if not np.isfinite(logits).all():
            raise classifiers.BadClassifier("The PyTorch model answers NaN or infinity itself.")
        with paths.replacing(self.folder / "reference.npy") as temporary:
            np.save(temporary, logits)
        weights = self.classifier.module().parameters()
        return sum(weight.numel() * weight.element_size() for weight in weights) / 1e6

    def exported(self) -> Variant:
        """The exporter's graph.

        Raises:
            CannotExport: there is none, or it is another function; the message says why.
        """
        family, path = self.classifier.family, self.file("exported")
        try:
            export.export(self.classifier.module(), path, inputs=self.classifier.example())
        except Exception as error:  # the exporter wraps causes of every type
            raise CannotExport(f"{family} cannot be exported: {cause(error)}") from error
        if problem := self._differs(path):
            raise CannotExport(f"{family} was exported, but the file {problem}.")
        return Variant("exported", path)

    def fused(self) -> list[Variant]:
        """Every fusion that applies, and those of them that mostly pay (see ``fusion``)."""
        family, path = self.classifier.family, self.file("fused")
        try:
            counts = fusion.fuse(self.file("exported"), path)
            found = [Variant("fused", path, note=_applied(family, counts, path))]
            apart = self.file("fused_paying")
            undone = fusion.unfuse(path, apart)
            if fusion.narrow(apart, apart) or any(undone.values()):
                found.append(Variant("fused_paying", apart))
        except Exception as error:  # rewriters meet graphs of other families with errors of theirs
            note = f"Fusing {family} failed; it goes on unfused."
            return [Variant("fused", path, f"fusing fails: {cause(error)}", note)]
        return [Variant(v.name, v.path, self._differs(v.path), v.note) for v in found]

    def int8(self, source: str) -> Variant:
        """A variant with weights in 8 bits, its outliers moved out of the way before."""
        name = f"{source}_int8"
        try:
            quantization.recommended(self.file(source), self.file(name), self._calibration())
            self.rightness(self.file(name))
        except Exception as error:  # the quantizer asserts on graphs that it does not know
            return Variant(name, self.file(name), f"quantizing fails: {cause(error)}")
        return Variant(name, self.file(name))

    def _calibration(self) -> list[dict[str, np.ndarray]]:
        """Inputs that the ranges of activations are measured on: texts that choose, not judge."""
        rows = [self.rows[i] for i in self.choosing[:CALIBRATED]]
        batches = batching.by_tokens([len(row) for row in rows], BUDGET)
        padding = self.classifier.padding
        return [batching.pad([rows[i] for i in batch], padding=padding) for batch in batches]

    def rightness(
        self,
        path: Path,
        texts: np.ndarray | None = None,
        beside: tuple[Path, Recipe] | None = None,
    ) -> Rightness:
        """Compare a file's answers with PyTorch's, or with those of the version ``beside``.

        texts: indices; ``choosing`` by default.
        """
        texts, task = self.choosing if texts is None else texts, self.classifier.task
        stored = self.folder / "reference.npy"
        reference = self._answers_of(*beside) if beside else np.load(stored)
        both = [logits[texts] for logits in (self.run(path), reference)]
        score = None
        if self.labels is not None:
            ours, theirs = (quality.answers(logits, task) for logits in both)
            score = quality.evaluate(
                ours,
                self.labels[texts],
                theirs,
                task=task,
                classes=len(self.classifier.labels),
                spread=self.spread,
            )
        agree = quality.agrees(*(quality.probabilities(b, task) for b in both), task, self.spread)
        return Rightness(float(agree.mean()), score)

    def run(self, path: Path) -> np.ndarray:
        """Logits of a file for all texts, float32 (n, labels)."""
        return self.logits(classifiers.onnx_predict(path, SESSION))

    def logits(self, predict, padding: Padding | None = None, rows=None) -> np.ndarray:
        rows = self.rows if rows is None else rows
        batches = batching.by_tokens([len(row) for row in rows], BUDGET)
        padding = padding or self.classifier.padding
        return batching.run(predict, rows, batches, padding=padding)

    def _answers_of(self, version: Path, recipe: Recipe) -> np.ndarray:
        """Logits of a promoted version, which reads the texts with its own tokenizer."""
        rows = self.rows
        if self.texts is not None:
            tokenizer = Tokenizer.from_file(str(version / TOKENIZER))
            tokenizer.no_padding()
            tokenizer.enable_truncation(recipe.max_length)
            rows = [encoding.ids for encoding in tokenizer.encode_batch(self.texts)]
        predict = classifiers.onnx_predict(version / MODEL, recipe.session)
        return self.logits(predict, recipe.padding, rows)

    def _differs(self, path: Path) -> str | None:
        """Why an fp32 file is not the same function as PyTorch's model, or None."""
        reference = np.load(self.folder / "reference.npy")
        try:
            logits = self.run(path)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            return f"cannot be run: {cause(error)}"
        largest = float(np.abs(logits - reference).max())
        if largest <= LOGIT_TOLERANCE * max(1.0, float(np.abs(reference).max())):
            return None
        hint = ""
        if self.classifier.padding.side == "left":
            hint = (
                ". Its tokenizer pads on the left, so that the first position, which many "
                "classifiers read, is padding: set tokenizer.padding_side = 'right'"
            )
        return f"answers differently from PyTorch: a logit differs by {largest:.1e}{hint}"


def cause(error: BaseException) -> str:
    """Type and first line of the innermost error: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _applied(family: str, counts: dict[str, int], path: Path) -> str:
    named = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    note = f"Fusions that applied to {family}: {named or 'none'}."
    if not graph.op_counts(path)["Attention"]:
        note += (
            " No attention was fused: its graph is not among the patterns known, and runs as "
            "single operators."
        )
    return note
