"""The challenge: a file and a recipe of your own for the classifier, scored against the reference.

The reference is the series' ``tuned`` file and recipe. An entry is measured beside it, judged by
the gate that ``optimize`` uses, and kept in the learner's folder.
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
Predict: TypeAlias = Callable[[dict[str, np.ndarray]], np.ndarray]


class BadEntry(TutorialError, ValueError):
    """A file cannot take part; the message says what is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """One file with its recipe, as it was measured.

    time: to label sentences, relative to the reference in the same run. missed: checks of the gate
    that were missed, and by how much. noisy: of these, how many were too noisy to decide.
    """

    name: str
    size_mb: float
    f1: float
    agreement: float
    time: Ratio
    missed: tuple[str, ...] = ()
    noisy: int = 0
    machine: str = ""

    @property
    def verdict(self) -> str:
        """What the gate says, in a few words."""
        if not self.missed:
            return "passed"
        if self.noisy == len(self.missed):
            return "too noisy: enter again with more rounds"
        return "missed: " + ", ".join(one.partition(":")[0] for one in self.missed)

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {self.verdict}", *(f"  {one}" for one in self.missed)])

    __repr__ = __str__


@dataclass(frozen=True)
class Scores:
    """All entries by name."""

    entries: dict[str, Entry] = field(default_factory=dict)


def enter(
    name: str, path: Path, recipe: Recipe = Recipe(), rounds: int = 7, seconds: float = 0.5
) -> Entry:
    """Measure a file on the test sentences, judge it, and keep it in place of one of that name.

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
    time = _time(Path(path), recipe, rounds, seconds)
    checks = gate.check(
        gate.Evidence(
            close=(Close("agreement", found.agreement, LIMITS.agreement),),
            time={"text to label": time},
            size=inspection.megabytes(path) / inspection.megabytes(pipeline.ensure("exported")),
            score=found,
            baseline="the reference",
        ),
        LIMITS,
    )
    entry = Entry(
        name=name,
        size_mb=inspection.megabytes(path),
        f1=found.score,
        agreement=found.agreement,
        time=time,
        missed=tuple(str(check) for check in checks if not check.passed),
        noisy=sum(check.noisy for check in checks),
        machine=str(machine.describe()),
    )
    _keep(entry)
    return entry


def entries() -> tuple[Entry, ...]:
    """What was entered so far: those that passed first, and of these the fastest.

    A file that cannot be read is set aside; a message on stderr says so.
    """
    file = _file()
    if not file.exists():
        return ()
    try:
        stored = records.loads(Scores, file.read_text(encoding="utf-8")).entries
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        kept = file.with_suffix(".before.json")
        file.replace(kept)
        print(f"{file} cannot be read ({error}). It is kept as {kept.name}.", file=sys.stderr)
        return ()
    return tuple(sorted(stored.values(), key=lambda e: (e.verdict != "passed", e.time.ratio)))


def table() -> Table:
    """All entries, ranked. Times are relative to the reference, each in the run of its entry."""
    headers = ("", "entry", "time", "95 % interval", "MB", "F1", "agreement", "the gate")
    rows = []
    for place, e in enumerate(entries(), 1):
        interval = f"[{e.time.low:.2f}, {e.time.high:.2f}]"
        numbers = f"{e.time.ratio:.2f} ×", interval, f"{e.size_mb:.1f}", f"{e.f1:.4f}"
        rank = str(place) if e.verdict == "passed" else "–"
        rows.append((rank, e.name, *numbers, f"{e.agreement:.2%}", e.verdict))
    return Table.of(headers, rows)


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
