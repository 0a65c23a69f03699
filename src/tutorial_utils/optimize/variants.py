"""The files that ``optimize`` chooses among: built from one classifier, checked against PyTorch.

Nothing is timed here. A variant that cannot be built, or that answers differently, is returned
with its problem, and the others go on.
"""

from dataclasses import dataclass

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.graph import export, fusion, inspection, quantization
from tutorial_utils.optimize import answers
from tutorial_utils.optimize.answers import cause
from tutorial_utils.optimize.job import BUDGET, Job
from tutorial_utils.runtime import batching

CALIBRATED = 512  # texts that the ranges of activations are measured on, at most


class CannotExport(TutorialError, RuntimeError):
    """The exporter refuses this model, or what it wrote computes something else."""


@dataclass(frozen=True)
class Variant:
    """The file ``Job.file(name)``, or the problem with it. note: what is worth knowing of it."""

    name: str
    problem: str | None = None
    note: str | None = None


def exported(job: Job) -> Variant:
    """The exporter's graph.

    Raises:
        CannotExport: there is none, or it is another function; the message says why.
    """
    family, path = job.classifier.family, job.file("exported")
    try:
        export.export(job.classifier.module(), path, inputs=job.classifier.example())
    except Exception as error:  # the exporter wraps causes of every type
        raise CannotExport(f"{family} cannot be exported: {cause(error)}") from error
    if problem := answers.problem(job, path):
        raise CannotExport(f"{family} was exported, but the file {problem}.")
    return Variant("exported")


def fused(job: Job) -> list[Variant]:
    """Every fusion that applies, and only those of them that usually pay (see ``fusion``)."""
    family, path, paying = job.classifier.family, job.file("fused"), job.file("fused_paying")
    try:
        counts = fusion.fuse(job.file("exported"), path)
        notes: dict[str, str | None] = {"fused": _applied(job, counts)}
        undone = fusion.unfuse(path, paying)
        if fusion.narrow(paying, paying) or any(undone.values()):
            notes["fused_paying"] = None
    except Exception as error:  # rewriters meet graphs of other families with errors of theirs
        note = f"Fusing {family} failed; it goes on unfused."
        return [Variant("fused", f"fusing fails: {cause(error)}", note)]
    return [Variant(name, answers.problem(job, job.file(name)), n) for name, n in notes.items()]


def int8(job: Job, source: str) -> Variant:
    """The variant ``source`` with weights in 8 bits, after SmoothQuant.

    The ranges of activations are measured on texts that choose, not on those that judge.
    """
    name, padding = f"{source}_int8", job.classifier.padding
    rows = [job.texts.rows[i] for i in job.texts.choosing[:CALIBRATED]]
    batches = batching.by_tokens([len(row) for row in rows], BUDGET)
    inputs = [batching.pad([rows[i] for i in batch], padding=padding) for batch in batches]
    try:
        quantization.recommended(job.file(source), job.file(name), inputs)
        answers.of_file(job, job.file(name))
    except Exception as error:  # the quantizer asserts on graphs that it does not know
        return Variant(name, f"quantizing fails: {cause(error)}")
    return Variant(name)


def _applied(job: Job, counts: dict[str, int]) -> str:
    named = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    note = f"Fusions that applied to {job.classifier.family}: {named or 'none'}."
    if not inspection.op_counts(job.file("fused"))["Attention"]:
        note += (
            " No attention was fused: its graph is not among the known patterns, and it runs as "
            "single operators."
        )
    return note
