"""Shared by the audit's measurements: a folder, a ratio of times, a score against PyTorch."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from tutorial_utils import quality
from tutorial_utils.bench import timer
from tutorial_utils.core import paths
from tutorial_utils.data import reviews
from tutorial_utils.lessons import measure

SHORT = {"rounds": 5, "seconds": 0.3}


def folder() -> Path:
    made = paths.home() / "claims"
    made.mkdir(parents=True, exist_ok=True)
    return made


def compare(given: dict, first: str, second: str, **effort) -> dict[str, float]:
    """Time of ``first`` relative to ``second``, in one run."""
    return ratio(timer.compare(given, **(SHORT | effort)), first, second)


def ratio(found: timer.Comparison, first: str, second: str) -> dict[str, float]:
    return asdict(found.verdict(first, second))


def scored(predicted: np.ndarray) -> tuple[dict[str, float], float]:
    """F1 difference from PyTorch with its interval, and the share of the same labels."""
    labels, reference = reviews.splits().test.labels, measure.predictions("pytorch")
    found = quality.evaluate(predicted, labels, reference)
    return {k: getattr(found, k) for k in ("difference", "low", "high")}, found.agreement
