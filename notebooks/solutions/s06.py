"""Solutions to the exercises of 06_continuous_optimization."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from scipy.stats import bootstrap

from tutorial_utils.runtime import batching


def score_missed(difference, low, tolerance, certain):
    """The measured difference decides; with `certain`, the low end of its interval does."""
    if certain:
        return low < -tolerance
    return difference < -tolerance


def f1(labels, predicted, axis=-1):
    """F1 of label 1, the harmonic mean of precision and recall, along an axis."""
    labels, predicted = labels == 1, predicted == 1
    both = (labels & predicted).sum(axis)
    return 2 * both / np.maximum(labels.sum(axis) + predicted.sum(axis), 1)


def f1_difference(labels, ours, theirs):
    """One bootstrap of the difference: each draw takes the same texts for both models."""

    def difference(labels, ours, theirs, axis=-1):
        return f1(labels, ours, axis) - f1(labels, theirs, axis)

    given = labels, ours, theirs
    drawn = bootstrap(given, difference, paired=True, n_resamples=2_000, method="percentile", rng=0)
    low, high = drawn.confidence_interval
    return difference(*given), low, high


def logits(path, rows):
    """What an ONNX file answers to rows of token ids, in their order."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]  # not every model takes all three
    return batching.run(
        lambda inputs: session.run(None, {name: inputs[name] for name in names})[0],
        rows,
        batching.by_tokens([len(row) for row in rows], budget=1024),
    )


def gate(reference, candidate, rows, labels, limits):
    """Names of the checks that a candidate misses. NaN comes first: its argmax is some label."""
    ours, theirs = logits(candidate, rows), logits(reference, rows)
    if not np.isfinite(ours).all():
        return ["answers"]
    ours, theirs = ours.argmax(axis=1), theirs.argmax(axis=1)
    size = Path(candidate).stat().st_size / Path(reference).stat().st_size
    passed = {
        "score": f1(labels, ours) - f1(labels, theirs) >= -limits.score_fall,
        "agreement": (ours == theirs).mean() >= limits.agreement,
        "size": size <= limits.size,
    }
    return [name for name, kept in passed.items() if not kept]


def same_everywhere(session, rows):
    """The lowest cosine between a text's vector alone and in one batch of all texts."""
    names = [given.name for given in session.get_inputs()]

    def vectors(rows):
        inputs = batching.pad(rows)
        found = session.run(None, {name: inputs[name] for name in names})[0]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    together = vectors(rows)
    alone = np.concatenate([vectors([row]) for row in rows])
    return float((together * alone).sum(axis=1).min())
