"""How good answers are: scores, agreement with a reference, and how sure a difference is.

``tasks`` says which of them belong to a task.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tutorial_utils.core.errors import InvalidArgument

RESAMPLES = 2_000
DEPTH = 10  # places of a ranking that count
# Of the labels' standard deviation. A value that moves by less is the same answer.
SAME_VALUE = 0.05
_DRAWS = 1_000_000  # texts drawn at once by the bootstrap, which bounds its memory

Scorer = Callable[[np.ndarray], np.ndarray]  # weights (resamples, n) → scores (resamples,)


@dataclass(frozen=True)
class Quality:
    """Scores of one model on labelled sentences; those against a reference are None without one.

    score: F1 where labels are predicted; for a regression RMSE, in the label's unit. metric: which.
    accuracy: share of the sentences with the right answer; None for a regression.
    agreement: share of the sentences with the reference's answer.
    difference: score minus the reference's on the same sentences, with its 95 % paired bootstrap
    interval (``low``, ``high``).
    spread: of a regression, the standard deviation of the labels, in their unit; else None.
    targets: of a regression with several targets, the quality of each; the fields above are then
    those of the worst one, and ``agreement`` is that of all targets together.
    """

    sentences: int
    score: float
    accuracy: float | None = None
    agreement: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    metric: str = "F1"
    spread: float | None = None
    targets: tuple["Quality", ...] = ()

    @property
    def worsening(self) -> tuple[float, float, float]:
        """How much worse than the reference, and the ends of its 95 % interval; below 0: better.

        F1: the fall of the score. RMSE: its rise, as a share of ``spread``.

        Raises:
            ValueError: there was no reference.
        """
        if self.difference is None or self.low is None or self.high is None:
            raise InvalidArgument("Nothing was compared: give evaluate() a reference.")
        if self.spread is None:
            return -self.difference, -self.high, -self.low
        return self.difference / self.spread, self.low / self.spread, self.high / self.spread

    def __str__(self) -> str:
        text = f"{self.metric} {self.score:.4f}"
        if self.accuracy is not None:
            text += f", accuracy {self.accuracy:.4f}"
        text += f" on {self.sentences:,} sentences"
        if self.agreement is not None:
            text += (
                f"; same {'label' if self.spread is None else 'value'} as the reference for "
                f"{self.agreement:.2%}, {self.metric} difference "
                f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
            )
        return text


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis. Shifted by the largest logit, so that none overflows."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """A probability for each logit; written with tanh, which cannot overflow."""
    return (1 + np.tanh(logits / 2)) / 2


def same_values(found: np.ndarray, reference: np.ndarray, spread: Sequence[float]) -> np.ndarray:
    """Which values are the same answer, bool (n, targets).

    They differ by less than ``SAME_VALUE`` of the standard deviation of their target's labels,
    ``spread`` (targets,), or not at all.
    """
    moved = np.abs(found.astype(float) - reference)
    return np.logical_or(moved < SAME_VALUE * np.asarray(spread), moved == 0)


def spread_of(values: np.ndarray) -> tuple[float, ...]:
    """Standard deviation of each target, of ``values`` (n, targets) or (n,); 0 of equal ones."""
    columns = np.asarray(values, float).reshape(len(values), -1)
    return tuple(0.0 if np.ptp(column) == 0 else float(column.std()) for column in columns.T)


def evaluate(
    predicted: np.ndarray,
    labels: np.ndarray,
    reference: np.ndarray | None = None,
    *,
    classes: int = 2,
) -> Quality:
    """Score predicted labels against the right ones of the same shape, and a reference's.

    One label a text, int (n,): F1 of class 1 of two ``classes``, macro F1 of more. Several labels,
    0 or 1 in (n, labels): micro F1.

    The interval resamples sentences, and takes both models' answers to the same ones: a paired
    bootstrap (Efron and Tibshirani 1993, chapter 13; percentile method), which sees far smaller
    differences than two separate intervals would.

    Raises:
        ValueError: the arrays differ in shape, are empty, or hold labels that are not there.
    """
    arrays = _arrays(predicted, labels, reference)
    sets = arrays[0].ndim == 2
    known = (0, 1) if sets else range(classes)
    if not all(np.isin(a, list(known)).all() for a in arrays):
        several = f"from 0 to {classes - 1}" if len(known) > 2 else "0 or 1"
        raise InvalidArgument(f"Labels must be {several}; take the argmax of the logits first.")
    found = replace(
        _compare(arrays, partial(_f1_scorer, classes=known if len(known) > 2 else (1,))),
        metric="micro F1" if sets else "macro F1" if len(known) > 2 else "F1",
        accuracy=_share_equal(*arrays[:2]),
    )
    return replace(found, agreement=_share_equal(arrays[0], arrays[2])) if arrays[2:] else found


def evaluate_values(
    predicted: np.ndarray,
    labels: np.ndarray,
    reference: np.ndarray | None = None,
    spread: Sequence[float] | None = None,
) -> Quality:
    """Score predicted values (n,) or (n, targets) against the right ones, and a reference's.

    RMSE of each target, and the quality of the one that is worst for its ``spread`` (by default
    the standard deviation of ``labels``). The interval is that of ``evaluate``.

    Raises:
        ValueError: the arrays differ in shape or are empty; all labels of a target are the same
            number.
    """
    arrays = [a.reshape(len(a), -1).astype(float) for a in _arrays(predicted, labels, reference)]
    spread = spread_of(arrays[1]) if spread is None else spread
    if constant := [i for i, one in enumerate(spread) if not one > 0]:
        raise InvalidArgument(
            f"All labels of target {constant[0]} are the same number, so there is no standard "
            "deviation to measure a difference by. Give texts with different labels."
        )
    found = []
    for i, one in enumerate(spread):
        metric = f"RMSE of target {i}" if len(spread) > 1 else "RMSE"
        scored = _compare([a[:, i] for a in arrays], _rmse_scorer)
        found.append(replace(scored, metric=metric, spread=float(one)))
    if arrays[2:]:
        same = same_values(arrays[0], arrays[2], spread)
        shares = same.mean(axis=0)
        found = [replace(q, agreement=float(s)) for q, s in zip(found, shares, strict=True)]
        worst = max(found, key=lambda one: one.worsening)
        worst = replace(worst, agreement=float(same.all(axis=1).mean()))
    else:
        worst = found[int(np.argmax([q.score / s for q, s in zip(found, spread, strict=True)]))]
    return replace(worst, targets=tuple(found) if len(spread) > 1 else ())


def evaluate_ranking(
    scores: np.ndarray, relevance: np.ndarray, reference: np.ndarray | None, groups: np.ndarray
) -> Quality:
    """NDCG@10 of each query's texts in the order of their scores, averaged over queries.

    All are (n,); groups: the query of each text. A query without a relevant text does not count.
    Texts of equal score share the mean of their places. NDCG: Järvelin and Kekäläinen 2002, with
    gains of 2 ** relevance - 1. The interval resamples queries.

    Raises:
        ValueError: the arrays differ in shape or are empty, or no query has a relevant text.
    """
    arrays = _arrays(scores, relevance, reference)
    queries = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    queries = [rows for rows in queries if relevance[rows].max() > 0]
    if not queries:
        raise InvalidArgument("No group has a relevant text (a label above 0), so none can rank.")

    def each(values: np.ndarray) -> np.ndarray:
        return np.array([_ndcg(values[rows], relevance[rows]) for rows in queries])

    ours, *theirs = (each(values) for values in (arrays[0], *arrays[2:]))

    def scorer(values: np.ndarray, _: np.ndarray) -> Scorer:
        return lambda weights: weights @ values / len(values)

    found = _compare([ours, ours, *theirs], scorer)
    agreement = float(np.mean(np.isclose(ours, theirs[0]))) if theirs else None
    return replace(found, metric=f"NDCG@{DEPTH}", agreement=agreement)


def _ndcg(scores: np.ndarray, relevance: np.ndarray) -> float:
    places = np.arange(len(scores))
    discount = np.where(places < DEPTH, 1 / np.log2(places + 2), 0)
    gains = 2.0**relevance - 1
    ideal = np.sort(gains)[::-1] @ discount
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    sums = np.concatenate([[0], np.cumsum(discount)])
    shared = (sums[ends] - sums[ends - counts]) / counts
    return float(gains @ shared[place] / ideal)


def evaluate_order(
    scores: np.ndarray, labels: np.ndarray, reference: np.ndarray | None = None
) -> Quality:
    """Spearman's rank correlation of ``scores`` with ``labels``, and a reference's; all (n,).

    The interval resamples items with the ranks that they have among all.
    """
    arrays = [_ranks(a) for a in _arrays(scores, labels, reference)]
    return replace(_compare(arrays, _correlation_scorer), metric="Spearman")


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of the angle between the vectors of each row, float64 (n,)."""
    first, second = first.astype(float), second.astype(float)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(lengths, np.finfo(float).tiny)


def common_neighbours(found: np.ndarray, reference: np.ndarray, count: int = 10) -> float:
    """Mean share of each text's ``count`` nearest texts that two sets of vectors have in common.

    Nearest by the cosine; of a few texts, all others are near. Of texts that are equally near in
    the reference, as copies are, any will do.
    """
    count = min(count, len(found) - 1)
    if count < 1:
        return 1.0
    cosines = []
    for vectors in (found, reference):
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cosines.append(unit @ unit.T)
        np.fill_diagonal(cosines[-1], -np.inf)
    ours, right = cosines
    chosen = np.argpartition(-ours, count - 1, axis=1)[:, :count]
    least = np.partition(right, -count, axis=1)[:, -count, None]
    return float((np.take_along_axis(right, chosen, axis=1) >= least - 1e-5).mean())


def _arrays(*given: np.ndarray | None) -> list[np.ndarray]:
    """Those that are given, of one shape."""
    arrays = [np.asarray(a) for a in given if a is not None]
    if len({a.shape for a in arrays}) != 1 or arrays[0].ndim not in (1, 2) or not len(arrays[0]):
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise InvalidArgument(f"Give one label per sentence in each array, not shapes {shapes}.")
    return arrays


def _compare(arrays: list[np.ndarray], scorer: Callable[..., Scorer]) -> Quality:
    """The score, and with a reference its difference and interval."""
    predicted, labels, *reference = arrays
    ours, once = scorer(predicted, labels), np.ones((1, len(labels)))
    made = Quality(len(labels), float(ours(once)[0]))
    if not reference:
        return made
    theirs = scorer(reference[0], labels)
    drawn = [ours(weights) - theirs(weights) for weights in _resampled(len(labels))]
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    difference = float(ours(once)[0] - theirs(once)[0])
    return replace(made, difference=difference, low=float(low), high=float(high))


def _resampled(texts: int) -> Iterator[np.ndarray]:
    """How often each text is drawn, float64 (some resamples, texts); ``RESAMPLES`` in all.

    The draws are always the same ones.
    """
    rng, most = np.random.default_rng(0), max(1, _DRAWS // texts)
    for start in range(0, RESAMPLES, most):
        count = min(most, RESAMPLES - start)
        drawn = rng.integers(0, texts, (count, texts)) + texts * np.arange(count)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=count * texts)
        yield counts.reshape(count, texts).astype(float)


def _f1_scorer(predicted: np.ndarray, labels: np.ndarray, classes: Sequence[int] = (1,)) -> Scorer:
    """Mean F1 of ``classes``, each taken for the positive one; a text's labels are summed first.

    F1 is 2 TP / (2 TP + FP + FN), and 0 without any of them.
    """
    ours, true = (a.reshape(len(a), -1, 1) == np.asarray(classes) for a in (predicted, labels))
    hits = (ours & true).sum(axis=1, dtype=float)  # (n, classes)
    wrong = (ours ^ true).sum(axis=1, dtype=float)

    def score(weights: np.ndarray) -> np.ndarray:
        twice = 2 * weights @ hits
        return (twice / np.maximum(twice + weights @ wrong, 1)).mean(axis=1)

    return score


def _rmse_scorer(predicted: np.ndarray, labels: np.ndarray) -> Scorer:
    """Root of the mean squared error."""
    squared = np.square(predicted - labels)
    return lambda weights: np.sqrt(weights @ squared / len(squared))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]


def _correlation_scorer(first: np.ndarray, second: np.ndarray) -> Scorer:
    """Pearson's correlation; 0 if all are equal."""
    a, b = first - first.mean(), second - second.mean()

    def score(weights: np.ndarray) -> np.ndarray:
        n = weights.sum(axis=1)
        mean_a, mean_b = weights @ a / n, weights @ b / n
        covariance = weights @ (a * b) / n - mean_a * mean_b
        spreads = (weights @ a**2 / n - mean_a**2) * (weights @ b**2 / n - mean_b**2)
        return covariance / np.sqrt(np.maximum(spreads, np.finfo(float).tiny))

    return score


def _share_equal(first: np.ndarray, second: np.ndarray) -> float:
    return float((first == second).reshape(len(first), -1).all(axis=1).mean())
