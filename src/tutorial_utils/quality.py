"""How good the answers are: F1, accuracy, agreement, and how sure a difference is."""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000


@dataclass(frozen=True)
class Quality:
    """Scores of one model on labelled sentences; those against a reference are None without one.

    difference: F1 minus the reference's F1 on the same sentences, with its 95 % paired bootstrap
    interval (``low``, ``high``).
    """

    sentences: int
    f1: float
    accuracy: float
    agreement: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        text = f"F1 {self.f1:.4f}, accuracy {self.accuracy:.4f} on {self.sentences:,} sentences"
        if self.agreement is not None:
            text += (
                f"; same label as the reference for {self.agreement:.2%}, F1 difference "
                f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
            )
        return text


def f1(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """F1 of the positive class (1) along the last axis: 2 TP / (2 TP + FP + FN); 0 without any."""
    hit = np.sum((predicted == 1) & (labels == 1), axis=-1)
    wrong = np.sum(predicted != labels, axis=-1)
    total = 2 * hit + wrong
    return np.where(total > 0, 2 * hit / np.maximum(total, 1), 0.0)


def evaluate(
    predicted: np.ndarray, labels: np.ndarray, reference: np.ndarray | None = None
) -> Quality:
    """Score predicted labels (0 or 1, shape (n,)) against ``labels``, and against a reference's.

    The interval resamples sentences, and takes both models' answers to the same ones: a paired
    bootstrap (Efron and Tibshirani 1993, chapter 13), which sees far smaller differences than two
    separate intervals would.

    Raises:
        ValueError: the arrays differ in shape, are empty, or hold something else than 0 and 1.
    """
    arrays = [np.asarray(a) for a in (predicted, labels, reference) if a is not None]
    if len({a.shape for a in arrays}) != 1 or arrays[0].ndim != 1 or arrays[0].size == 0:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"Give one label a sentence in each array; their shapes are {shapes}.")
    if not all(np.isin(a, (0, 1)).all() for a in arrays):
        raise ValueError("Labels must be 0 or 1; take the argmax of the logits first.")
    predicted, labels = arrays[:2]
    scores = {"f1": float(f1(predicted, labels)), "accuracy": float(np.mean(predicted == labels))}
    if reference is not None:
        low, high = _paired_interval(*arrays)
        scores |= {
            "agreement": float(np.mean(predicted == arrays[2])),
            "difference": scores["f1"] - float(f1(arrays[2], labels)),
            "low": low,
            "high": high,
        }
    return Quality(sentences=len(labels), **scores)


def _paired_interval(
    predicted: np.ndarray, labels: np.ndarray, reference: np.ndarray
) -> tuple[float, float]:
    from scipy.stats import bootstrap

    if np.array_equal(predicted, reference):
        return 0.0, 0.0
    result = bootstrap(
        (predicted, labels, reference),
        lambda p, t, r, axis=-1: f1(p, t) - f1(r, t),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=200,
        method="percentile",
        rng=0,
    )
    return tuple(float(end) for end in result.confidence_interval)
