"""The answers of a file, compared with those of PyTorch or of the version in use."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tutorial_utils import quality
from tutorial_utils.bench.candidates import OnRows
from tutorial_utils.core import paths
from tutorial_utils.core.errors import InvalidArgument, TutorialError
from tutorial_utils.models.classifiers import BadClassifier
from tutorial_utils.optimize import long_inputs
from tutorial_utils.optimize.job import Job
from tutorial_utils.registry import TOKENIZER, choose, read_manifest
from tutorial_utils.runtime import batching, memory, tokenization
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import UNFUSED, SessionRecipe
from tutorial_utils.tasks import Close, Truth, named

LOGIT_TOLERANCE = 1e-3  # fp32 steps may change a logit only by rounding
FLIPS = 500  # most texts that are answered in several batchings
REFERENCE, REFERENCE_LONG = "reference.npy", "reference_long.npy"


class NotFinite(TutorialError, ArithmeticError):
    """A file gives answers that are not finite."""


@dataclass(frozen=True)
class Fidelity:
    """How close a file's answers are to a reference's. score: None without labels."""

    close: tuple[Close, ...]
    score: quality.Quality | None

    @property
    def agreement(self) -> float:
        """The first measure of closeness: for most tasks, the share of the same answers."""
        return self.close[0].value


def store_reference(job: Job) -> None:
    """Run PyTorch and store its logits, which all candidates are compared with.

    Raises:
        BadClassifier: a logit is not finite, or it cannot read as many tokens as it should.
    """
    logits = OnRows(job.classifier, job.recipe(), job.texts.rows).build()()
    try:
        at_length = long_inputs.answers(job, job.classifier.predictor())
    except InvalidArgument as error:
        raise BadClassifier(
            f"The PyTorch model itself fails {error}. Set a smaller model_max_length in its "
            "tokenizer."
        ) from error
    if not (np.isfinite(logits).all() and np.isfinite(at_length).all()):
        raise BadClassifier(
            "The PyTorch model itself returns NaN or infinity. Check whether all weights are "
            "finite, and train it again."
        )
    for name, values in ((REFERENCE, logits), (REFERENCE_LONG, at_length)):
        with paths.replacing(job.folder / name) as temporary:
            np.save(temporary, values)


def reference(job: Job) -> np.ndarray:
    """PyTorch's logits for all texts, float32 (n, labels), stored by ``store_reference``."""
    return np.load(job.folder / REFERENCE)


def of_file(
    job: Job,
    path: Path,
    recipe: Recipe | None = None,
    indices: np.ndarray | None = None,
) -> np.ndarray:
    """A file's logits, float32 (n, labels).

    recipe: how to run it; by default as on the target. indices: of the texts; all by default.

    Raises:
        NotFinite: an answer is NaN or infinite. A comparison would turn it into some label.
    """
    recipe = recipe or job.recipe()
    recipe = replace(recipe, session=replace(recipe.session, huge_pages=False))
    rows = job.texts.rows if indices is None else tuple(job.texts.rows[i] for i in indices)
    logits = OnRows(path, recipe, rows).build()()
    if not np.isfinite(logits).all():
        texts = int((~np.isfinite(logits)).any(axis=1).sum())
        raise NotFinite(f"the answers to {texts} of {len(logits)} texts are NaN or infinite")
    return logits


@dataclass(frozen=True)
class Flips:
    """How far answers depend on the texts that share a batch with them.

    share: of the texts with a different answer. near: lowest ``Task.nearness`` of an answer in a
    batch to that of the text alone; None if the task has none.
    """

    share: float
    texts: int
    near: float | None


def flips(job: Job, path: Path, recipe: Recipe) -> Flips:
    """Answer each text alone, and in batches of texts of similar and of any length."""
    task, rows = named(job.classifier.task), [job.texts.rows[i] for i in job.texts.judging[:FLIPS]]
    predict = onnx_predict(path, replace(recipe.session, huge_pages=False))
    lengths = [len(row) for row in rows]
    mixed = np.random.default_rng(0).permutation(len(rows))
    batchings = [
        batching.by_tokens(lengths, 1),
        batching.by_tokens(lengths, recipe.token_budget),
        [
            [int(mixed[i]) for i in batch]
            for batch in batching.by_tokens(
                [lengths[i] for i in mixed], recipe.token_budget, by_length=False
            )
        ],
    ]
    alone, *others = (
        task.answers(batching.run(predict, rows, batches, padding=recipe.padding))
        for batches in batchings
    )
    same = [task.same(answers, alone, spread(job)) for answers in others]
    near = [n.min() for answers in others if (n := task.nearness(answers, alone)) is not None]
    share = float(1 - np.all(same, axis=0).mean())
    return Flips(share, len(rows), float(min(near)) if near else None)


def largest_budget(job: Job, path: Path) -> int:
    """The largest of the target's token budgets that fits into the memory of its device."""
    most = max(job.target.budgets)
    if not job.target.accelerated:
        return most
    predict = onnx_predict(path, job.target.session)
    (row,) = job.classifier.random_rows(1, job.classifier.max_length)
    return memory.largest_budget(predict, row, most, job.classifier.padding)


def of_version(job: Job, folder: Path) -> np.ndarray:
    """Logits of a promoted version, which uses its own tokenizer."""
    (file, recipe), rows = as_served(folder), job.texts.rows
    if job.texts.texts is not None:
        tokenizer = tokenization.load(folder / TOKENIZER, recipe.max_length)
        rows = tuple(tokenization.encode(tokenizer, job.texts.texts))
    return OnRows(file, replace(recipe, token_budget=job.target.budget), rows).build()()


def as_served(folder: Path) -> tuple[Path, Recipe]:
    """The file and the recipe with which a server on this machine runs a version."""
    form = choose(read_manifest(folder))
    return folder / form.file, form.recipe


def fidelity(
    job: Job,
    path: Path,
    indices: np.ndarray | None = None,
    against: np.ndarray | None = None,
    recipe: Recipe | None = None,
) -> Fidelity:
    """Compare a file's answers with the logits ``against`` (all texts), by default PyTorch's.

    indices: texts to compare on; by default those for choosing candidates. recipe: as in
    ``of_file``.

    Raises:
        NotFinite: as ``of_file``.
    """
    chosen = job.texts.choosing if indices is None else indices
    theirs = reference(job) if against is None else against
    return compared(job, of_file(job, path, recipe, chosen), theirs[chosen], chosen)


def compared(job: Job, logits: np.ndarray, others: np.ndarray, chosen: np.ndarray) -> Fidelity:
    """How close logits are to others, both of the texts with the indices ``chosen``."""
    task, labels = named(job.classifier.task), job.texts.labels
    ours, theirs = task.answers(logits), task.answers(others)
    score = None
    if labels is not None:
        groups = None if job.texts.groups is None else job.texts.groups[chosen]
        score = task.evaluate(ours, theirs, Truth(labels[chosen], groups, spread(job)))
    alike = ours.shape == theirs.shape  # vectors of another encoder may have another width
    return Fidelity(task.closeness(ours, theirs, spread(job)) if alike else (), score)


def spread(job: Job) -> tuple[float, ...] | None:
    """Standard deviation of each target of a regression; None for other tasks.

    Of the labels if there are any, otherwise of PyTorch's values.
    """
    values = reference(job) if job.texts.labels is None else job.texts.labels
    return named(job.classifier.task).spread(values)


def problem(job: Job, path: Path) -> str | None:
    """Why an fp32 file does not compute the same as the PyTorch model, or None if it does.

    On the CPU, where both compute in fp32; GPUs round the factors of fp32 products (TF32).
    """
    session, right = SessionRecipe(disabled_optimizers=UNFUSED), reference(job)
    try:
        logits = of_file(job, path, replace(job.recipe(), session=session))
        at_length = long_inputs.answers(job, onnx_predict(path, session))
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        return f"cannot be run: {cause(error)}"
    right_at_length = np.load(job.folder / REFERENCE_LONG)
    most = max(float(np.abs(values).max()) for values in (right, right_at_length))
    tolerance = LOGIT_TOLERANCE * max(1.0, most)
    largest = float(np.abs(logits - right).max())
    if largest <= tolerance:
        off = np.abs(at_length - right_at_length).max(axis=1)
        for long, difference in zip(long_inputs.of(job), off, strict=True):
            if not difference <= tolerance:
                return f"answers differently from PyTorch at {long}: off by {difference:.1e}"
        return None
    hint = ""
    if job.classifier.padding.side == "left":
        hint = (
            ". Its tokenizer pads on the left, so the first position, which many classifiers "
            "read, is padding: set tokenizer.padding_side = 'right'"
        )
    return f"answers differently from PyTorch: a logit differs by {largest:.1e}{hint}"


def problem_at_length(job: Job, path: Path, session: SessionRecipe | None = None) -> str | None:
    """Why a file in fewer bits cannot be used for long inputs, or None.

    session: to run it with, by default the target's.

    Half of these rows must get PyTorch's answer. They are too few to measure agreement: of files
    that agree on 95 % of such rows, one in 2,000 is refused.
    """
    task, session = named(job.classifier.task), session or job.target.session
    session = replace(session, huge_pages=False)
    ours = task.answers(long_inputs.answers(job, onnx_predict(path, session)))
    theirs = task.answers(np.load(job.folder / REFERENCE_LONG))
    same = task.same(ours, theirs, spread(job))
    if same.mean() >= 0.5:
        return None
    rows = zip(long_inputs.of(job), same, strict=True)
    return f"answers differ at {', '.join(str(row) for row, kept in rows if not kept)}"


def cause(error: BaseException) -> str:
    """Type and first line of the innermost error; exporters wrap it in long advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
