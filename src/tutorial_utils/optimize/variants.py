"""The files that ``optimize`` chooses from, built from one classifier and checked with PyTorch.

Nothing is timed here. A variant that cannot be built or gives other answers is returned with its
problem, and the run continues with the others.
"""

from dataclasses import dataclass

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.graph import export, fusion, half_precision, inspection, quantization
from tutorial_utils.optimize import answers
from tutorial_utils.optimize.answers import cause
from tutorial_utils.optimize.job import Job
from tutorial_utils.runtime import batching
from tutorial_utils.tasks import named

CALIBRATED = 512  # most texts for measuring the ranges of activations


class CannotExport(TutorialError, RuntimeError):
    """The exporter cannot export this model, or its file computes something else."""


@dataclass(frozen=True)
class Variant:
    """The file ``Job.file(name)``, or the problem with it. note: a remark for the report."""

    name: str
    problem: str | None = None
    note: str | None = None


def exported(job: Job) -> Variant:
    """The exporter's graph.

    Raises:
        CannotExport: the export failed, or the file computes something else.
    """
    family, path = job.classifier.family, job.file("exported")
    try:
        output = named(job.classifier.task).output
        export.export(job.classifier.module(), path, inputs=job.classifier.example(), output=output)
    except Exception as error:  # the exporter wraps causes of every type
        raise CannotExport(f"{family} cannot be exported: {cause(error)}") from error
    if problem := answers.problem(job, path):
        raise CannotExport(f"{family} was exported, but the file {problem}.")
    return Variant("exported")


def fused(job: Job) -> list[Variant]:
    """A file with all fusions that apply, and one with those that usually pay (see ``fusion``)."""
    family, path, paying = job.classifier.family, job.file("fused"), job.file("fused_paying")
    try:
        counts = fusion.fuse(job.file("exported"), path)
        notes: dict[str, str | None] = {"fused": _applied(job, counts)}
        undone = fusion.unfuse(path, paying)
        if fusion.narrow(paying, paying) or any(undone.values()):
            notes["fused_paying"] = None
        if job.target.precision == "fp16" and job.classifier.padding.side == "right":
            fusion.count_tokens(path, path)
    except Exception as error:  # on graphs of unknown families, rewriters raise any type
        note = f"Fusing {family} failed, so its file is unfused."
        return [Variant("fused", f"cannot be fused: {cause(error)}", note)]
    return [Variant(name, answers.problem(job, job.file(name)), n) for name, n in notes.items()]


def int8(job: Job, source: str) -> Variant:
    """The variant ``source`` with 8-bit weights, after SmoothQuant.

    The ranges of activations are measured on texts that the gate does not use.
    """
    name, padding = f"{source}_int8", job.classifier.padding
    rows = [job.texts.rows[i] for i in job.texts.choosing[:CALIBRATED]]
    batches = batching.by_tokens([len(row) for row in rows], job.target.budget)
    inputs = [batching.pad([rows[i] for i in batch], padding=padding) for batch in batches]
    try:
        quantization.recommended(job.file(source), job.file(name), inputs)
        answers.of_file(job, job.file(name))
        return Variant(name, answers.problem_at_length(job, job.file(name)))
    except Exception as error:  # the quantizer asserts on unknown graphs
        return Variant(name, f"cannot be quantized: {cause(error)}")


def fp16(job: Job, source: str) -> Variant:
    """The variant ``source`` in half precision."""
    name = f"{source}_fp16"
    try:
        half_precision.to_fp16(job.file(source), job.file(name))
        answers.of_file(job, job.file(name))
        return Variant(name, answers.problem_at_length(job, job.file(name)))
    except Exception as error:  # the converter asserts on unknown graphs
        return Variant(name, f"cannot be used in fp16: {cause(error)}")


def _applied(job: Job, counts: dict[str, int]) -> str:
    named = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    note = f"Fusions that applied to {job.classifier.family}: {named or 'none'}."
    if not inspection.op_counts(job.file("fused"))["Attention"]:
        note += (
            " No attention was fused, because its graph matches none of the known patterns. It "
            "runs as separate operators."
        )
    return note
