"""Plausible wrong answers to the exercises of 06_continuous_optimization."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from scipy.stats import bootstrap

from tutorial_utils.runtime import batching


def _f1(labels, predicted, axis=-1):
    hits = ((labels == 1) & (predicted == 1)).sum(axis)
    return 2 * hits / np.maximum((labels == 1).sum(axis) + (predicted == 1).sum(axis), 1)


def _difference(labels, ours, theirs, axis=-1):
    return _f1(labels, ours, axis) - _f1(labels, theirs, axis)


def _interval(given, statistic, paired=True):
    drawn = bootstrap(given, statistic, paired=paired, method="percentile", n_resamples=500, rng=0)
    return tuple(drawn.confidence_interval)


def _two_intervals(labels, ours, theirs):
    (low, high), (their_low, their_high) = (
        _interval((labels, answers), _f1) for answers in (ours, theirs)
    )
    return _f1(labels, ours) - _f1(labels, theirs), low - their_high, high - their_low


def _unpaired(labels, ours, theirs):
    def difference(own_labels, ours, other_labels, theirs, axis=-1):
        return _f1(own_labels, ours, axis) - _f1(other_labels, theirs, axis)

    rng = np.random.default_rng(0)
    draws = []
    for _ in range(500):
        a, b = (rng.integers(0, len(labels), len(labels)) for _ in range(2))
        draws.append(difference(labels[a], ours[a], labels[b], theirs[b]))
    return (_difference(labels, ours, theirs), *np.percentile(draws, [2.5, 97.5]))


def _run(path, rows, masked=True, every=False):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def predict(inputs):
        if not masked:
            inputs = inputs | {"attention_mask": np.ones_like(inputs["attention_mask"])}
        return session.run(None, inputs if every else {name: inputs[name] for name in names})[0]

    return batching.run(predict, rows, batching.in_order(len(rows), 32))


def _gate(reference, candidate, rows, labels, limits, **wrong):
    how = {name: wrong[name] for name in ("masked", "every") if name in wrong}
    ours, theirs = _run(candidate, rows, **how), _run(reference, rows, **how)
    if wrong.get("finite", True) and not np.isfinite(ours).all():
        return ["answers"]
    ours, theirs = ours.argmax(axis=1), theirs.argmax(axis=1)
    fall = _f1(labels, theirs) - _f1(labels, ours)
    if wrong.get("accuracy"):
        fall = (theirs == labels).mean() - (ours == labels).mean()
    if wrong.get("either"):
        fall = abs(fall)
    agreement = (ours == (labels if wrong.get("with_labels") else theirs)).mean()
    size = Path(candidate).stat().st_size / Path(reference).stat().st_size
    if wrong.get("inverted"):
        size = 1 / size
    missed = [fall > limits.score_fall, agreement < limits.agreement, size > limits.size]
    names = [n for n, m in zip(("score", "agreement", "size"), missed, strict=True) if m]
    return names[:1] if wrong.get("first") else names


def _gates(**wrong):
    def answer(reference, candidate, rows, labels, limits):
        return _gate(reference, candidate, rows, labels, limits, **wrong)

    return answer


def _vectors(session, rows, masked=True, unit=True):
    inputs = batching.pad(rows)
    if not masked:
        inputs["attention_mask"] = np.ones_like(inputs["attention_mask"])
    names = [given.name for given in session.get_inputs()]
    found = session.run(None, {name: inputs[name] for name in names})[0]
    return found / np.linalg.norm(found, axis=1, keepdims=True) if unit else found


def _cosines(session, rows, **how):
    alone = np.concatenate([_vectors(session, [row], **how) for row in rows])
    return (_vectors(session, rows, **how) * alone).sum(axis=1)


WRONG = {
    "06.score_missed": [
        lambda difference, low, tolerance, certain: difference < -tolerance,  # never certain
        lambda difference, low, tolerance, certain: low < -tolerance,  # always certain
        lambda difference, low, tolerance, certain: (low if certain else difference) < tolerance,
        lambda difference, low, tolerance, certain: (  # at the tolerance too
            (low if certain else difference) <= -tolerance
        ),
        lambda difference, low, tolerance, certain: (  # inverted: says whether it passes
            (low if certain else difference) >= -tolerance
        ),
    ],
    "06.f1_difference": [
        _two_intervals,
        _unpaired,
        lambda labels, ours, theirs: _interval((labels, ours, theirs), _difference),  # no middle
        lambda labels, ours, theirs: (  # of the other sign
            _difference(labels, theirs, ours),
            *_interval((labels, theirs, ours), _difference),
        ),
        lambda labels, ours, theirs: (  # of the accuracy
            (ours == labels).mean() - (theirs == labels).mean(),
            *_interval((labels, ours, theirs), _difference),
        ),
    ],
    "06.gate": [
        _gates(finite=False),  # NaN is read as a label
        _gates(masked=False),
        _gates(every=True),  # feeds inputs that a model does not have
        _gates(accuracy=True),
        _gates(either=True),  # refuses a better model
        _gates(with_labels=True),
        _gates(inverted=True),
        _gates(first=True),  # stops at the first check
    ],
    "06.same_everywhere": [
        lambda session, rows: float(_cosines(session, rows, masked=False).min()),
        lambda session, rows: float(_cosines(session, rows, unit=False).min()),  # no cosine
        lambda session, rows: float(_cosines(session, rows).mean()),
        lambda session, rows: float(_cosines(session, rows[:1]).min()),  # one text only
    ],
}
