"""What a variant answers, beside PyTorch or beside a version that was promoted before."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutorial_utils import quality
from tutorial_utils.core import paths
from tutorial_utils.models import classifiers
from tutorial_utils.models.classifiers import BadClassifier, Classifier, Predict
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.registry import MODEL, TOKENIZER
from tutorial_utils.runtime import batching, tokenization
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe

# ONNX Runtime would fuse again, while it loads the file, what was left apart because it costs.
SESSION = SessionRecipe(disabled_optimizers=("SkipLayerNormFusion", "BiasGeluFusion"))
BUDGET = 1024  # tokens of a batch while answers are collected
LOGIT_TOLERANCE = 1e-3  # fp32 steps may move a logit by rounding only


@dataclass(frozen=True)
class Fidelity:
    """How near answers are to others': agreement, and the score where there are labels."""

    agreement: float
    score: quality.Quality | None


@dataclass(frozen=True)
class Answers:
    """Runs files of one classifier on its texts. stored: PyTorch's logits, once ``store`` ran."""

    classifier: Classifier
    texts: Texts
    stored: Path

    def store(self) -> None:
        """Run PyTorch and keep its logits, which all variants are compared with.

        Raises:
            BadClassifier: an answer is not finite.
        """
        logits = self._logits(self.classifier.predictor())
        if not np.isfinite(logits).all():
            raise BadClassifier(
                "The PyTorch model itself answers NaN or infinity. Look for weights that are not "
                "finite, and train it again."
            )
        with paths.replacing(self.stored) as temporary:
            np.save(temporary, logits)

    def of_file(self, path: Path) -> np.ndarray:
        """Logits for all texts, float32 (n, labels)."""
        return self._logits(classifiers.onnx_predict(path, SESSION))

    def of_version(self, folder: Path, recipe: Recipe) -> np.ndarray:
        """Logits of a promoted version, which reads the texts with its own tokenizer."""
        rows = self.texts.rows
        if self.texts.texts is not None:
            tokenizer = tokenization.load(folder / TOKENIZER, recipe.max_length)
            rows = tuple(map(tuple, tokenization.encode(tokenizer, self.texts.texts)))
        predict = classifiers.onnx_predict(folder / MODEL, recipe.session)
        return self._logits(predict, rows, recipe.padding)

    def fidelity(
        self, path: Path, indices: np.ndarray | None = None, reference: np.ndarray | None = None
    ) -> Fidelity:
        """Compare a file's answers with ``reference``, logits for all texts; PyTorch's by default.

        indices: the texts to compare on; those that choose by default.
        """
        task = self.classifier.task
        chosen = self.texts.choosing if indices is None else indices
        theirs = np.load(self.stored) if reference is None else reference
        both = [logits[chosen] for logits in (self.of_file(path), theirs)]
        score = None
        if self.texts.labels is not None:
            score = quality.evaluate(
                quality.answers(both[0], task),
                self.texts.labels[chosen],
                quality.answers(both[1], task),
                task=task,
                classes=len(self.classifier.labels),
                spread=self.spread,
            )
        ours, theirs = (quality.probabilities(logits, task) for logits in both)
        return Fidelity(float(quality.agrees(ours, theirs, task, self.spread).mean()), score)

    @property
    def spread(self) -> tuple[float, ...] | None:
        """Standard deviation of each target of a regression; None for other tasks.

        That of the labels; without any, that of PyTorch's values, which ``store`` keeps.
        """
        if self.classifier.task != "regression" or self.texts.spread:
            return self.texts.spread
        return quality.spread_of(np.load(self.stored))

    def problem(self, path: Path) -> str | None:
        """Why an fp32 file is not the same function as PyTorch's model, or None."""
        reference = np.load(self.stored)
        try:
            logits = self.of_file(path)
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

    def _logits(
        self,
        predict: Predict,
        rows: tuple[tuple[int, ...], ...] | None = None,
        padding: Padding | None = None,
    ) -> np.ndarray:
        rows = self.texts.rows if rows is None else rows
        batches = batching.by_tokens([len(row) for row in rows], BUDGET)
        return batching.run(predict, rows, batches, padding=padding or self.classifier.padding)


def cause(error: BaseException) -> str:
    """Type and first line of the innermost error: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
