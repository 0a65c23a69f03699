"""Candidates timed side by side, on each workload, and the rule by which one is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tutorial_utils.bench import timer
from tutorial_utils.bench.intervals import RESOLUTION, Ratio
from tutorial_utils.models.classifiers import Classifier, EncodedTexts
from tutorial_utils.optimize.answers import SESSION
from tutorial_utils.optimize.effort import Effort
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.registry import MODEL
from tutorial_utils.runtime import batching
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe

Rows = tuple[tuple[int, ...], ...]
Ratios = dict[str, Ratio]  # workload → time relative to a reference

TUNED = replace(SESSION, huge_pages=True)  # for what is timed and promoted
BUDGETS = (1024, 256, 512, 2048, 4096)  # tokens of a batch; the first is the default
TEXTS_TIMED = 200
ONE_TEXT, ONE_BATCH, TEXTS = "one text", "one batch", "texts"


@dataclass(frozen=True)
class Entry:
    """What is timed: an ONNX file or PyTorch, and how its batches are made and run.

    budget: tokens of a batch; None: all rows in one.
    """

    model: Path | Classifier
    padding: batching.Padding
    budget: int | None = None
    session: SessionRecipe = TUNED

    @classmethod
    def of_version(cls, folder: Path, recipe: Recipe, budget: int) -> "Entry":
        """A promoted version, run as its own recipe says."""
        return cls(folder / MODEL, recipe.padding, budget, recipe.session)

    def candidate(self, rows: Rows) -> EncodedTexts:
        lengths = [len(row) for row in rows]
        budget = self.budget
        batches = batching.by_tokens(lengths, budget) if budget else [list(range(len(rows)))]
        return EncodedTexts(
            self.model, rows, tuple(map(tuple, batches)), self.padding, self.session
        )


@dataclass(frozen=True)
class Timer:
    """Times entries on the workloads of one classifier and its texts."""

    classifier: Classifier
    texts: Texts
    effort: Effort

    def workloads(self, budget: int = BUDGETS[0]) -> dict[str, Rows]:
        """A text of median length, a batch of such, and the user's own texts."""
        real = self.texts.labels is not None
        lengths = [len(row) for row in self.texts.rows]
        length = int(np.median(lengths)) if real else min(128, self.classifier.max_length)
        rows = self.classifier.random_rows(max(1, budget // length), length)
        batch = tuple(map(tuple, rows))
        if not self.effort.thorough:
            return {ONE_TEXT: batch[:1]}
        found = {ONE_TEXT: batch[:1], ONE_BATCH: batch}
        return found | ({TEXTS: self.some_texts()} if real else {})

    def some_texts(self) -> Rows:
        """The first of the user's texts."""
        return self.texts.rows[:TEXTS_TIMED]

    def compare(self, entries: Mapping[str, Entry], rows: Rows) -> timer.Comparison:
        """One workload; the first entry is the reference."""
        candidates = {name: entry.candidate(rows) for name, entry in entries.items()}
        effort = self.effort
        return timer.compare(
            candidates, rounds=effort.rounds, seconds=effort.seconds, minimum_calls=1
        )

    def race(self, files: Mapping[str, Path]) -> dict[str, Ratios]:
        """Each file but the first → its time relative to the first, for one text and one batch."""
        found: dict[str, Ratios] = {name: {} for name in list(files)[1:]}
        if not found:
            return {}
        entries = {n: Entry(file, self.classifier.padding) for n, file in files.items()}
        for workload, rows in self.workloads().items():
            if workload != TEXTS:
                for name, ratio in self.compare(entries, rows).verdicts.items():
                    found[name][workload] = ratio
        return found


def mean(ratios: Mapping[str, Ratio]) -> float:
    """Geometric mean of the ratios of all workloads, each of which weighs the same."""
    return float(np.exp(np.mean([np.log(ratio.ratio) for ratio in ratios.values()])))


def fastest(raced: Mapping[str, Mapping[str, Ratio]], reference: str) -> str:
    """The name with the lowest ``mean``, or ``reference`` where none lies below 1 − RESOLUTION.

    This is a choice, not a claim: it goes by the ratios, each workload judged for itself, and not
    by their intervals. Two processes of the same file differ by about RESOLUTION, so that less
    than that is no reason to leave the reference.
    """
    best = min(raced, key=lambda name: mean(raced[name]), default=reference)
    return best if best in raced and mean(raced[best]) < 1 - RESOLUTION else reference


def why(name: str, best: str, ratios: Mapping[str, Ratio]) -> str:
    """The reason that goes with the choice of ``best``."""
    if name == best:
        return "faster"
    if mean(ratios) < 1 - RESOLUTION:
        return f"faster, but {best} is faster still"
    return "slower" if mean(ratios) > 1 + RESOLUTION else "no difference that matters"


def told(ratios: Mapping[str, Ratio]) -> str:
    """The ratios with their intervals, for people."""
    return "; ".join(f"{workload} {ratio}" for workload, ratio in ratios.items())
