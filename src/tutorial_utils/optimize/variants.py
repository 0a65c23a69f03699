"""The files that ``optimize`` chooses from, built from one classifier and compared with PyTorch.

Nothing is timed here. A variant that cannot be built or gives other answers is returned with its
problem, and the run continues with the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.graph import (
    export,
    fusion,
    half_precision,
    inspection,
    quantization,
    sensitivity,
    static,
)
from tutorial_utils.optimize import answers, long_inputs
from tutorial_utils.optimize.answers import Fidelity, cause, problem_at_length
from tutorial_utils.optimize.job import Job
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.session import SessionRecipe
from tutorial_utils.tasks import named

CALIBRATED = 512  # most texts for measuring the ranges of activations


class CannotExport(TutorialError, RuntimeError):
    """The exporter cannot export this model, or its file computes something else."""


@dataclass(frozen=True)
class Variant:
    """The file ``Job.file(name)``, or the problem with it. note: a remark for the report.

    close: how close a file in fewer bits is to PyTorch on the texts for choosing.
    """

    name: str
    problem: str | None = None
    note: str | None = None
    close: Fidelity | None = None


def exported(job: Job) -> Variant:
    """The exporter's graph.

    Raises:
        CannotExport: the export failed, or the file computes something else.
    """
    family, path = job.classifier.family, job.file("exported")
    try:
        _export(job, path)
    except Exception as error:  # the exporter wraps causes of every type
        raise CannotExport(f"{family} cannot be exported: {cause(error)}") from error
    if problem := answers.problem(job, path):
        raise CannotExport(f"{family} was exported, but the file {problem}.")
    return Variant("exported")


def _export(job: Job, path: Path, attention: str | None = None) -> None:
    classifier, output = job.classifier, named(job.classifier.task).output
    module, inputs = classifier.module(), classifier.example()
    export.export(module, path, inputs=inputs, output=output, attention=attention)


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
        note = f"Fusing {family} failed, so its file is not fused."
        return [Variant("fused", f"cannot be fused: {cause(error)}", note)]
    return [Variant(name, answers.problem(job, job.file(name)), n) for name, n in notes.items()]


def int8(job: Job, source: str) -> Variant:
    """The file ``source`` with 8-bit weights, after SmoothQuant."""
    inputs, path = _calibration(job), job.file(f"{source}_int8")
    return _made(job, path, lambda: quantization.recommended(job.file(source), path, inputs))


def mixed(job: Job, source: str, enough: Callable[[Fidelity], bool]) -> Variant:
    """As ``int8``, but the products that lose most in 8 bits stay in fp32.

    As few as needed to make the file good ``enough``, and at most half of them.
    """
    inputs, path = _calibration(job), job.file(f"{source}_mixed")
    kept: list[sensitivity.Kept] = []

    def passes(file: Path) -> bool:
        return enough(answers.fidelity(job, file)) and not problem_at_length(job, file)

    def make() -> None:
        kept.append(sensitivity.mixed(job.file(source), path, inputs, passes))

    made = _made(job, path, make)
    return replace(made, note=str(kept[0]) if kept else None)


def fp16(job: Job, source: str) -> Variant:
    """The file ``source`` in half precision."""
    path = job.file(f"{source}_fp16")
    return _made(job, path, lambda: half_precision.to_fp16(job.file(source), path))


def plain(job: Job) -> Variant:
    """The exporter's graph without our fusions, for providers with fusions of their own.

    Of the last layer, only the position that is read is computed, as in the fused files.
    """
    path = job.file("openvino")
    try:
        _export(job, path, attention="eager")
        fusion.narrow(path, path)
    except Exception as error:  # not every model has eager attention
        return Variant("openvino", f"cannot be exported: {cause(error)}")
    return Variant("openvino", answers.problem(job, path))


def calibrated(job: Job, source: str, session: SessionRecipe, attention: bool = True) -> Variant:
    """The file ``source`` in 8 bits with scales in the file (Q/DQ), run with ``session``.

    attention: the products of attention too, not only those with weights.
    """
    path = job.file(f"{source}_{'int8' if attention else 'mixed'}")
    # Fixed ranges must hold for long texts too, of which the data may have none.
    inputs = [*_calibration(job), *(long.inputs for long in long_inputs.of(job))]
    kept = () if attention else static.attention_products(job.file(source))

    def make() -> None:
        static.recommended(job.file(source), path, inputs, exclude=kept)

    made = _made(job, path, make, session)
    return replace(made, note=f"{len(kept)} products of attention in fp32" if kept else None)


def compared(job: Job, name: str, session: SessionRecipe) -> Variant:
    """A file as it is, and how close it is to PyTorch on another provider."""
    return _made(job, job.file(name), lambda: None, session)


def _calibration(job: Job) -> list[dict[str, np.ndarray]]:
    """Batches to measure the ranges of activations on; the gate does not use their texts."""
    rows = [job.texts.rows[i] for i in job.texts.choosing[:CALIBRATED]]
    batches = batching.by_tokens([len(row) for row in rows], job.target.budget)
    return [batching.pad([rows[i] for i in b], padding=job.classifier.padding) for b in batches]


def _made(
    job: Job, path: Path, make: Callable[[], object], session: SessionRecipe | None = None
) -> Variant:
    """Make a file in fewer bits, and compare it with PyTorch, on long inputs too."""
    try:
        make()
        close = answers.fidelity(job, path, recipe=job.recipe(session=session))
        return Variant(path.stem, problem_at_length(job, path, session), close=close)
    except Exception as error:  # quantizer and converter assert on unknown graphs
        return Variant(path.stem, f"cannot be used: {cause(error)}")


def _applied(job: Job, counts: dict[str, int]) -> str:
    named = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    note = f"Fusions that applied to {job.classifier.family}: {named or 'none'}."
    found = inspection.op_counts(job.file("fused"))
    if not found["Attention"] + found["MultiHeadAttention"]:
        note += (
            " No attention was fused, because its graph matches none of the known patterns. It "
            "runs as separate operators."
        )
    return note
