"""The challenge: a file and a recipe of your own for the classifier, scored against the reference.

The reference is the course's ``tuned`` file and recipe. An entry is measured beside it, judged by
the gate that ``optimize`` uses, and kept in the learner's folder. A file that has only learned the
test sentences by heart passes that gate; it fails on texts of another kind.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from filelock import FileLock

from tutorial_utils import quality
from tutorial_utils.bench import timer
from tutorial_utils.bench.candidates import Labelling
from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import machine, paths, records
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.core.tables import Table
from tutorial_utils.graph import inspection
from tutorial_utils.lessons import measure, pipeline, progress
from tutorial_utils.models.labelling import label
from tutorial_utils.optimize import gate
from tutorial_utils.runtime.inference import onnx_predict, random_inputs
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.tasks import Close

SHAPES = ((1, 5), (3, 24))  # batches that an entry has to take
LIMITS = gate.Limits(latency=1.05)  # relative to the reference; all others are to PyTorch
ELSEWHERE = 0.95  # least share of product reviews with PyTorch's label; INT8 has about 0.99
BEATS = {"faster": "yes", "slower": "no"}  # by the word of the ratio
Predict: TypeAlias = Callable[[dict[str, np.ndarray]], np.ndarray]


class BadEntry(TutorialError, ValueError):
    """A file cannot take part; the message says what is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """One file with its recipe, as it was measured.

    agreement, elsewhere: share of the test sentences, and of product reviews, with PyTorch's label.
    time: to label sentences, relative to the reference in the same run. texts: how many sentences.
    missed, noisy: checks that were missed, and those that were too noisy to decide, with numbers.
    """

    name: str
    size_mb: float
    f1: float
    agreement: float
    elsewhere: float
    time: Ratio
    texts: int
    machine: str
    missed: tuple[str, ...] = ()
    noisy: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """What the gate says, in a few words."""
        parts = []
        if self.missed:
            parts.append("missed: " + _names(self.missed))
        if self.noisy:
            parts.append(f"too noisy to decide, try rounds=15: {_names(self.noisy)}")
        return "; ".join(parts) or "passed"

    @property
    def passed(self) -> bool:
        return not (self.missed or self.noisy)

    @property
    def beats(self) -> str:
        """Whether it beats the reference: it passed, and its whole interval is clearly below 1."""
        return BEATS.get(self.time.word, "too close to tell") if self.passed else "–"

    def __str__(self) -> str:
        wrong = (f"  {one}" for one in (*self.missed, *self.noisy))
        return "\n".join([f"{self.name}: {self.verdict}", *wrong])

    __repr__ = __str__


@dataclass(frozen=True)
class Scores:
    """All entries by name."""

    entries: dict[str, Entry] = field(default_factory=dict)


def enter(
    name: str, path: Path, recipe: Recipe = Recipe(), rounds: int = 7, seconds: float = 0.5
) -> Entry:
    """Measure a file on the test sentences, judge it, and keep it in place of one of that name.

    It must also agree with PyTorch on product reviews, which the test sentences say nothing about.

    path: an ONNX file that takes ``input_ids``, ``attention_mask`` and ``token_type_ids``, or some
    of them, and gives logits (texts, 2). recipe: its session, token budget and workers. rounds,
    seconds: as of ``timer.compare``.

    Raises:
        BadEntry: the file cannot be opened or run, or does not give two finite logits a text.
    """
    predict = _opened(Path(path), recipe)
    sentences = measure.sentences()
    predicted = label(sentences.texts, predict, budget=recipe.token_budget, workers=recipe.workers)
    pytorch = measure.predictions("pytorch", len(sentences))
    found = quality.evaluate(predicted, sentences.labels, pytorch)
    assert found.agreement is not None  # it was compared with PyTorch
    texts, others = measure.product_reviews()
    answers = label(texts, predict, budget=recipe.token_budget, workers=recipe.workers)
    elsewhere = float(np.mean(answers == others))
    time = _time(Path(path), recipe, rounds, seconds)
    of_gate = gate.check(
        gate.Evidence(
            close=(Close("agreement", found.agreement, LIMITS.agreement),),
            time={"text to label": time},
            size=inspection.megabytes(path) / inspection.megabytes(pipeline.ensure("exported")),
            score=found,
            baseline="the reference",
        ),
        LIMITS,
    )
    checks = (*of_gate, _closeness_elsewhere(elsewhere))
    entry = Entry(
        name=name,
        size_mb=inspection.megabytes(path),
        f1=found.score,
        agreement=found.agreement,
        elsewhere=elsewhere,
        time=time,
        texts=len(sentences),
        machine=str(machine.describe()),
        missed=tuple(str(check) for check in checks if not check.passed and not check.noisy),
        noisy=tuple(str(check) for check in checks if check.noisy),
    )
    _keep(entry)
    return entry


def entries() -> tuple[Entry, ...]:
    """What was entered so far: those that passed first, and of these the surely fastest.

    The high end of the interval decides, so luck in a noisy run is worth nothing. A file that
    cannot be read is set aside; a message on stderr says so.
    """
    file = _file()
    if not file.exists():
        return ()
    try:
        stored = records.loads(Scores, file.read_text(encoding="utf-8")).entries
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        kept = file.with_suffix(".before.json")
        file.replace(kept)
        print(
            f"{file} is damaged or of another version ({error}). It is kept as {kept.name}; enter "
            "your files again.",
            file=sys.stderr,
        )
        return ()
    return tuple(sorted(stored.values(), key=lambda e: (not e.passed, e.time.high)))


def table() -> Table:
    """All entries, ranked. Times are relative to the reference, each in the run of its entry.

    Only entries on the same sentences are ranked: those on the most. Where machines differ, each
    entry names its own.
    """
    found = entries()
    most = max((e.texts for e in found), default=0)
    machines = len({e.machine for e in found}) > 1
    headers = ["", "entry", "time", "95 % interval", "beats it", "MB", "F1", "agreement"]
    headers += ["on other texts", "the checks", *(["machine"] if machines else [])]
    rows, place = [], 0
    for e in found:
        ranked = e.passed and e.texts == most
        place += ranked
        said = e.verdict if e.texts == most else f"on {e.texts:,} of {most:,} texts: enter it again"
        rows.append(
            (
                str(place) if ranked else "–",
                e.name,
                f"{e.time.ratio:.2f} ×",
                f"[{e.time.low:.2f}, {e.time.high:.2f}]",
                e.beats if e.texts == most else "–",
                f"{e.size_mb:.1f}",
                f"{e.f1:.4f}",
                f"{e.agreement:.2%}",
                f"{e.elsewhere:.2%}",
                said,
                *([e.machine] if machines else []),
            )
        )
    return Table.of(headers, rows)


def _closeness_elsewhere(share: float) -> gate.Check:
    name, limit = "agreement with PyTorch on product reviews", f"at least {ELSEWHERE:.2%}"
    return gate.Check(name, f"{share:.2%}", limit, share >= ELSEWHERE)


def _names(checks: tuple[str, ...]) -> str:
    return ", ".join(one.partition(":")[0] for one in checks)


def _time(path: Path, recipe: Recipe, rounds: int, seconds: float) -> Ratio:
    """Time to label sentences relative to the reference, which takes turns with the entry."""
    ours = pipeline.ensure("tuned"), pipeline.recipe("tuned")
    compared = {
        name: Labelling(file, how.in_bulk(), how.token_budget, workers=how.workers)
        for name, (file, how) in {"reference": ours, "entry": (path, recipe)}.items()
    }
    result = timer.compare(compared, rounds=rounds, seconds=seconds, warmup=1, minimum_calls=1)
    return result.verdicts["entry"]


def _opened(path: Path, recipe: Recipe) -> Predict:
    """The file as a function, once it has answered at ``SHAPES``."""
    if not path.is_file():
        raise BadEntry(f"There is no file {path}. Enter the path of an ONNX file.")
    try:
        predict = onnx_predict(path, recipe.in_bulk())
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise BadEntry(f"{path.name} cannot be opened: {_first_line(error)}") from error
    for batch, length in SHAPES:
        at = f"{path.name} at {batch} × {length} tokens"
        try:
            logits = predict(random_inputs(batch, length))
        except KeyError as error:
            raise BadEntry(
                f"{path.name} wants an input {error}. It may take input_ids, attention_mask and "
                "token_type_ids."
            ) from error
        except Exception as error:
            raise BadEntry(
                f"{at} fails: {_first_line(error)}. Batch and length must be dynamic, as in lesson "
                "01."
            ) from error
        if logits.shape != (batch, 2) or not np.isfinite(logits).all():
            raise BadEntry(
                f"{at} gives shape {logits.shape}, or numbers that are not finite. Expected are "
                f"finite logits as the first output, shape {(batch, 2)}."
            )
    return predict


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _keep(entry: Entry) -> None:
    """Store an entry. Writers take turns."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        kept = Scores({one.name: one for one in (*entries(), entry)})
        paths.write(file, records.dumps(kept))


def _file() -> Path:
    return progress.folder() / "scoreboard.json"
