"""How good the answers are: F1, accuracy, agreement, and how sure a difference is."""

from dataclasses import dataclass

import numpy as np

from tutorial_utils.errors import InvalidArgument

RESAMPLES = 2_000
TASKS = {  # how a model's logits read → what its score is called
    "single_label": "F1",
    "multi_label": "micro F1",
    "regression": "correlation",
}


@dataclass(frozen=True)
class Quality:
    """Scores of one model on labelled sentences; those against a reference are None without one.

    score: see ``TASKS``; F1 where labels are predicted. agreement: share of the sentences with the
    reference's answer (regression: correlation with the reference's values). difference: score
    minus the reference's on the same sentences, with its 95 % paired bootstrap interval (``low``,
    ``high``).
    """

    sentences: int
    score: float
    accuracy: float | None = None
    agreement: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    metric: str = "F1"

    @property
    def f1(self) -> float:
        return self.score

    def __str__(self) -> str:
        text = f"{self.metric} {self.score:.4f}"
        if self.accuracy is not None:
            text += f", accuracy {self.accuracy:.4f}"
        text += f" on {self.sentences:,} sentences"
        if self.agreement is not None:
            text += (
                f"; same label as the reference for {self.agreement:.2%}, {self.metric} difference "
                f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
            )
        return text


def answers(logits: np.ndarray, task: str = "single_label") -> np.ndarray:
    """What a model's logits (n, labels) say.

    The likeliest label, int64 (n,); which labels hold, 0 or 1 in (n, labels); or the values
    themselves, float (n, labels).
    """
    if task == "single_label":
        return logits.argmax(axis=1)
    return (logits > 0).astype(np.int64) if task == "multi_label" else logits


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis. Shifted by the largest logit, so that none overflows."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Logits (n, labels) as ``TASKS`` reads them; a regression's values stay as they are.

    Several labels: each has a probability of its own, by the sigmoid, written with tanh since
    that cannot overflow.
    """
    if task == "single_label":
        return softmax(logits)
    return (1 + np.tanh(logits / 2)) / 2 if task == "multi_label" else logits


def agreement(first: np.ndarray, second: np.ndarray, task: str = "single_label") -> float:
    """Share of the texts with the same answer; regression: correlation of the values."""
    if task == "regression":
        return float(correlation(first.ravel(), second.ravel()))
    return float(np.mean(np.reshape(first == second, (len(first), -1)).all(axis=1)))


def f1(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """F1 of the positive class (1) along the last axis: 2 TP / (2 TP + FP + FN); 0 without any."""
    hit = np.sum((predicted == 1) & (labels == 1), axis=-1)
    wrong = np.sum(predicted != labels, axis=-1)
    total = 2 * hit + wrong
    return np.where(total > 0, 2 * hit / np.maximum(total, 1), 0.0)


def macro_f1(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean F1 of the classes 0 … ``classes`` − 1, each taken for the positive one in turn."""
    each = [f1((predicted == c).astype(int), (labels == c).astype(int)) for c in range(classes)]
    return np.mean(each, axis=0)


def correlation(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pearson's r along the last axis; 0 where one side does not vary."""
    a = predicted - predicted.mean(axis=-1, keepdims=True)
    b = labels - labels.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.where(scale > 0, (a * b).sum(axis=-1) / np.where(scale > 0, scale, 1), 0.0)


def evaluate(
    predicted: np.ndarray,
    labels: np.ndarray,
    reference: np.ndarray | None = None,
    *,
    task: str = "single_label",
    classes: int = 2,
) -> Quality:
    """Score answers (see ``answers``) against ``labels`` of their shape, and a reference's.

    Single label: F1 of class 1 of two classes, macro F1 of more. Several labels: micro F1.
    Regression: Pearson's correlation. The interval resamples sentences, and takes both models'
    answers to the same ones: a paired bootstrap (Efron and Tibshirani 1993, chapter 13), which sees
    far smaller differences than two separate intervals would.

    Raises:
        ValueError: the arrays differ in shape, are empty, or hold labels that are not there.
    """
    arrays = [np.asarray(a) for a in (predicted, labels, reference) if a is not None]
    shape, fits = arrays[0].shape, (1,) if task == "single_label" else (1, 2)
    if len({a.shape for a in arrays}) != 1 or len(shape) not in fits or not shape[0]:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise InvalidArgument(
            f"Give one label a sentence in each array; their shapes are {shapes}."
        )
    known = {"single_label": range(classes), "multi_label": (0, 1)}.get(task)
    if known is not None and not all(np.isin(a, list(known)).all() for a in arrays):
        several = f"from 0 to {classes - 1}" if len(known) > 2 else "0 or 1"
        raise InvalidArgument(f"Labels must be {several}; take the argmax of the logits first.")
    predicted, labels = arrays[:2]

    def score(p: np.ndarray, t: np.ndarray) -> np.ndarray:
        if task == "regression":
            return correlation(p, t)
        return f1(p, t) if task == "multi_label" or classes == 2 else macro_f1(p, t, classes)

    scores = {"score": float(score(*(a.ravel() for a in arrays[:2]))), "metric": TASKS[task]}
    if task == "single_label" and classes > 2:
        scores["metric"] = "macro F1"
    if task != "regression":
        scores["accuracy"] = agreement(predicted, labels, task)
    if reference is not None:
        low, high = _paired_interval(arrays, score)
        scores |= {
            "agreement": agreement(predicted, arrays[2], task),
            "difference": scores["score"] - float(score(arrays[2].ravel(), labels.ravel())),
            "low": low,
            "high": high,
        }
    return Quality(sentences=len(labels), **scores)


def _paired_interval(arrays: list[np.ndarray], score) -> tuple[float, float]:
    from scipy.stats import bootstrap

    predicted, labels, reference = arrays
    if np.array_equal(predicted, reference):
        return 0.0, 0.0

    def difference(sentences: np.ndarray, axis: int = -1) -> np.ndarray:
        def drawn(array: np.ndarray) -> np.ndarray:  # (resamples, n) or (resamples, n × labels)
            chosen = array[sentences.astype(np.int64)]
            return chosen.reshape(*sentences.shape[:-1], -1)

        p, t, r = map(drawn, (predicted, labels, reference))
        return score(p, t) - score(r, t)

    result = bootstrap(
        (np.arange(len(labels)),),
        difference,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=200,
        method="percentile",
        rng=0,
    )
    return tuple(float(end) for end in result.confidence_interval)
