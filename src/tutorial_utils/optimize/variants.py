"""The files that ``optimize`` chooses among: built from one classifier, checked against PyTorch.

Nothing is timed here. A variant that fails to build, or answers differently, is a ``Variant`` with
a problem, and the others go on.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.graph import export, fusion, inspection, quantization
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize.answers import BUDGET, Answers, cause
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.runtime import batching

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

    @property
    def megabytes(self) -> float:
        """Size of the file in MB."""
        return inspection.megabytes(self.path)


@dataclass(frozen=True)
class VariantBuilder:
    """Builds the variants of a classifier in ``folder``, each from one that was built before."""

    classifier: Classifier
    texts: Texts
    folder: Path

    @property
    def answers(self) -> Answers:
        return Answers(self.classifier, self.texts, self.folder / "reference.npy")

    def file(self, name: str) -> Path:
        """Where the variant of that name lies."""
        return self.folder / f"{name}.onnx"

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
        if problem := self.answers.problem(path):
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
        return [Variant(v.name, v.path, self.answers.problem(v.path), v.note) for v in found]

    def int8(self, source: str) -> Variant:
        """The variant ``source`` with weights in 8 bits, after SmoothQuant."""
        name = f"{source}_int8"
        try:
            quantization.recommended(self.file(source), self.file(name), self._calibration())
            self.answers.of_file(self.file(name))
        except Exception as error:  # the quantizer asserts on graphs that it does not know
            return Variant(name, self.file(name), f"quantizing fails: {cause(error)}")
        return Variant(name, self.file(name))

    def _calibration(self) -> list[dict[str, np.ndarray]]:
        """Inputs that the ranges of activations are measured on: texts that choose, not judge."""
        rows = [self.texts.rows[i] for i in self.texts.choosing[:CALIBRATED]]
        batches = batching.by_tokens([len(row) for row in rows], BUDGET)
        padding = self.classifier.padding
        return [batching.pad([rows[i] for i in batch], padding=padding) for batch in batches]


def _applied(family: str, counts: dict[str, int], path: Path) -> str:
    named = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    note = f"Fusions that applied to {family}: {named or 'none'}."
    if not inspection.op_counts(path)["Attention"]:
        note += (
            " No attention was fused: its graph is not among the known patterns, and it runs as "
            "single operators."
        )
    return note
