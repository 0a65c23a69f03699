"""The notes of a report: what the figures are based on, and what may surprise people."""

import numpy as np

from tutorial_utils import quality
from tutorial_utils.core import machine
from tutorial_utils.optimize import answers, gate
from tutorial_utils.optimize.choice import Judged
from tutorial_utils.optimize.job import Job
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.tasks import Truth, named

SAME_VECTOR = 0.9999  # from this cosine on, two vectors of a text differ by rounding only
WIDE = 2.0  # high end over low end of a time's interval; above it, the report warns
BESIDE_CPU = (
    "PyTorch ran on the CPU, because its build here has no CUDA. So the times relative to it say "
    "nothing about PyTorch on the GPU."
)


def flips(job: Job, best: Judged, recipe: Recipe) -> str:
    """A remark on answers that depend on the other texts of a batch."""
    if recipe.token_budget == 1:
        return "Each text is run alone, so its answer does not depend on others."
    found = answers.flips(job, job.file(best.candidate.name), recipe)
    note = (
        f"{found.share:.1%} of {found.texts} texts get a different answer alone than in some batch."
    )
    depends = found.share > 0
    if found.near is not None:
        depends = found.near < SAME_VECTOR
        note = (
            f"The vectors of a text alone and in some batch have a cosine of at least "
            f"{found.near:.4f} ({found.texts} texts)."
        )
    if depends and best.candidate.dynamic:
        note += (
            " In INT8, the texts of a batch share the scales that are found for it. "
            "--batch-invariant prevents this."
        )
    return note


def doubt(job: Job) -> str | None:
    """A warning if PyTorch itself is no better than the most frequent label for all texts."""
    labels, names = job.texts.labels, job.classifier.labels
    if labels is None:
        return None
    task = named(job.classifier.task)
    given = task.answers(answers.reference(job))
    score = task.evaluate(given, given, Truth(labels, job.texts.groups))
    frequent = np.unique(labels, axis=0, return_counts=True)[1].max() / len(labels)
    if score.accuracy is None or score.accuracy > frequent:
        return None
    return (
        f"PyTorch itself is right for {score.accuracy:.1%} of the texts, and the most frequent "
        f"label is right for {frequent:.1%}. Are the model's labels in the order of the data's? "
        f"They are {', '.join(names[:10])} (id2label in config.json); --label-map says what the "
        "data's labels mean."
    )


def measurement(job: Job, judged: tuple[Judged, ...], limits: gate.Limits) -> list[str]:
    """Remarks on how the figures were measured, and how far you can trust them."""
    texts, notes = job.texts, []
    if any(time.high > WIDE * time.low for time in judged[0].evidence.time.values()):
        notes.append(
            "The interval of a time is so wide that the gain is uncertain: something else ran on "
            "this machine. Measure again when it is idle before you rely on the factor."
        )
    if job.target.precision == "int8" and machine.saturates():
        notes.append(
            "INT8 weights have 7 bits. On this processor, which has no VNNI, products of 8-bit "
            "weights can saturate, and the answers would be wrong. The files are right everywhere."
        )
    if job.target.beside_cpu:
        notes.append(BESIDE_CPU)
    if texts.texts is None:
        return [
            *notes,
            "Accuracy was not measured: no texts were given (--data). Answers were compared with "
            f"PyTorch's on {len(texts)} rows of random tokens, which say less than real texts.",
        ]
    notes.append(
        f"A quarter of {len(texts):,} texts chose the candidates; the gate used the others."
    )
    scores = {one.candidate.name: s for one in judged if (s := one.evidence.score)}
    if not scores:
        return [*notes, "No score was measured: the data has no pairs with a label."]
    wide = [name for name, score in scores.items() if _is_wide(score, limits)]
    if wide:
        notes.append(
            "The interval of the score's difference is wider than the tolerance "
            f"({', '.join(wide)}). With more labelled texts, the gate would decide more reliably."
        )
    return notes


def _is_wide(score: quality.Quality, limits: gate.Limits) -> bool:
    if score.high is None or score.low is None:
        return False
    return score.high - score.low > 2 * gate.tolerated(score, limits)
