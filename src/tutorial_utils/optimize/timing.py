"""Time candidates side by side on each workload, and choose the fastest."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import OnRows
from tutorial_utils.bench.intervals import RESOLUTION, Ratio
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.texts import Rows
from tutorial_utils.runtime import memory
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe

Entry = tuple[Path | Classifier, Recipe]  # an ONNX file or a PyTorch model, and how to run it
Ratios = Mapping[str, Ratio]  # workload → time relative to a reference

TEXTS_TIMED = 200
ONE_TEXT, ONE_BATCH, TEXTS = "one text", "one batch", "texts"


class TooLittleMemory(TutorialError, MemoryError):
    """The machine or its GPU had too little memory."""


def workloads(job: Job, budget: int | None = None) -> dict[str, Rows]:
    """A text of median length, a batch of such texts, and the first of the user's own texts."""
    real = job.texts.texts is not None
    lengths = [len(row) for row in job.texts.rows]
    length = int(np.median(lengths)) if real else min(128, job.classifier.max_length)
    rows = job.classifier.random_rows(max(1, (budget or job.target.budget) // length), length)
    batch = tuple(map(tuple, rows))
    if not job.effort.thorough:
        return {ONE_TEXT: batch[:1]}
    found = {ONE_TEXT: batch[:1], ONE_BATCH: batch}
    return found | ({TEXTS: job.texts.rows[:TEXTS_TIMED]} if real else {})


def compare(job: Job, entries: Mapping[str, Entry], rows: Rows) -> timer.Comparison:
    """Time all entries on one workload; the first is the reference."""
    try:
        return _compare(job, entries, rows)
    except timer.CandidateFailed as error:
        if not memory.is_allocation_failure(error):
            raise
        raise TooLittleMemory(
            "Timing the files side by side needs more memory than is free. Free some, or give "
            "fewer texts (--max-texts)."
        ) from error


def _compare(job: Job, entries: Mapping[str, Entry], rows: Rows) -> timer.Comparison:
    return timer.compare(
        {
            name: OnRows(model, recipe, rows, job.target.device)
            for name, (model, recipe) in entries.items()
        },
        rounds=job.effort.rounds,
        seconds=job.effort.seconds,
        minimum_calls=1,
    )


def race(job: Job, names: Iterable[str], session: SessionRecipe | None = None) -> dict[str, Ratios]:
    """Each file except the first → its time relative to the first, for one text and one batch.

    session: to open them with; by default the target's.
    """
    recipe = job.recipe(session=session)
    entries: dict[str, Entry] = {name: (job.file(name), recipe) for name in names}
    others = list(entries)[1:]
    if not others:
        return {}
    used = {workload: rows for workload, rows in workloads(job).items() if workload != TEXTS}
    found = {workload: compare(job, entries, rows).verdicts for workload, rows in used.items()}
    return {name: {w: verdicts[name] for w, verdicts in found.items()} for name in others}


def mean(ratios: Ratios) -> float:
    """Geometric mean of the ratios of all workloads."""
    return float(np.exp(np.mean([np.log(ratio.ratio) for ratio in ratios.values()])))


def fastest(raced: Mapping[str, Ratios], reference: str) -> str:
    """The name with the lowest ``mean``, or ``reference`` if none is below 1 − RESOLUTION.

    This is a choice, not a claim, so it uses the ratios without their intervals. Two processes of
    the same file differ by about RESOLUTION, so a smaller gain is no reason to change.
    """
    best = min(raced, key=lambda name: mean(raced[name]), default=reference)
    return best if best in raced and mean(raced[best]) < 1 - RESOLUTION else reference


def why(name: str, best: str, ratios: Ratios) -> str:
    """Why ``name`` was kept or rejected when ``best`` was chosen."""
    if name == best:
        return "faster"
    if mean(ratios) < 1 - RESOLUTION:
        return f"faster, but {best} is faster still"
    return "slower" if mean(ratios) > 1 + RESOLUTION else "no difference that matters"
