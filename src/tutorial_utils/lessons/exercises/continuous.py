"""Exercises of 06_continuous_optimization."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from tutorial_utils.lessons.exercises import solutions
from tutorial_utils.lessons.exercises.comparison import difference
from tutorial_utils.lessons.exercises.core import exercise

exercise(
    "06.score_missed",
    [
        (-0.002, -0.006, 0.005, False),
        (-0.002, -0.006, 0.005, True),
        (-0.008, -0.012, 0.005, False),
        (0.001, -0.002, 0.005, True),
        (-0.006, -0.009, 0.010, True),
        (0.004, 0.001, 0.0, False),
        (-0.005, -0.009, 0.005, False),  # at the tolerance is not below it
    ],
    "Which of the two numbers decides? That depends on `certain`.",
    "A fall is a negative number. The check fails if the deciding number falls below the limit.",
    "(low if certain else difference) < -tolerance",
)

WIDTHS = 0.8, 1.25  # of the reference's interval: what another seed or method may give


def _judge_difference(answer: Callable) -> str | None:
    """Compare difference and interval with the solution's, for pairs of models."""
    for name, given in _predictions().items():
        found = answer(*given)
        right = solutions.function("06.f1_difference")(*given)
        if not isinstance(found, Sequence) or len(found) != 3:
            return f"It gives {found!r}; it should give three numbers: difference, low, high"
        middle, low, high = map(float, found)
        if wrong := difference(middle, float(right[0])):
            return f"For {name}, the difference {wrong}"
        if not low <= middle <= high:
            return f"For {name}, the difference {middle:.4f} is outside of [{low:.4f}, {high:.4f}]"
        ratio = (high - low + 1e-9) / (right[2] - right[1] + 1e-9)
        if not WIDTHS[0] <= ratio <= WIDTHS[1]:
            return (
                f"For {name}, the interval is [{low:.4f}, {high:.4f}]: {ratio:.2g} times as wide "
                "as the paired one"
            )
    return None


def _predictions() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Labels of 400 texts, and the answers of two models to them."""
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.4).astype(int)
    good, close, bad = (np.where(rng.random(400) < p, 1 - labels, labels) for p in (0.1, 0, 0.3))
    close = np.where(rng.random(400) < 0.03, 1 - good, good)
    return {
        "two models that differ on few texts": (labels, close, good),
        "a model that is much worse": (labels, bad, good),
        "the same answers twice": (labels, good, good),
    }


exercise(
    "06.f1_difference",
    (),
    "Some texts are hard for both models. When both answer the same texts, that part of the noise "
    "cancels. Which quantity should you resample, then?",
    "Give `bootstrap` all three arrays, and a statistic that returns the difference of two F1. "
    "With paired=True, one draw takes the same texts from each array.",
    "def difference(labels, ours, theirs, axis=-1): return f1(labels, ours, axis) - f1(labels, "
    "theirs, axis); then bootstrap((labels, ours, theirs), difference, paired=True, method="
    '"percentile", rng=0).confidence_interval',
    judge=_judge_difference,
)

_TEXTS = 200


def _judge_gate(answer: Callable) -> str | None:
    """Ask it about tiny files that are right, wrong, too large, and not numbers."""
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder, "reference.onnx")
        for name, labels, first, case, limits in _proposals():
            candidate = Path(folder, "candidate.onnx")
            _write(reference, first, segments=True)
            _write(candidate, **case)
            given = reference, candidate, _rows(), labels, limits
            found = answer(*given)
            if wrong := difference(found, solutions.function("06.gate")(*given)):
                return f"For {name} it {wrong}"
    return None


def _proposals() -> Iterator[tuple]:
    """What is proposed, labels, the reference's answers, the candidate's file, and the limits."""
    from tutorial_utils.optimize.gate import Limits

    labels = (np.arange(_TEXTS) % 4 == 0).astype(int)  # so few positive ones that F1 tells more
    first = labels.copy()
    first[:20] = 1 - first[:20]  # 20 mistakes
    strict, wide = Limits(score_fall=0.02, agreement=0.95, size=1.1), Limits(0.2, agreement=0.8)

    def flipped(*rows: int) -> np.ndarray:
        answers = first.copy()
        answers[list(rows)] = 1 - answers[list(rows)]
        return answers

    worse, worst = flipped(100, 104, 108), flipped(*range(100, _TEXTS, 4))  # misses positive ones
    for name, case, limits in (
        ("a file with the same answers", {"answers": first}, strict),
        ("a file that corrects 8 mistakes", {"answers": flipped(*range(8))}, strict),
        ("a file that misses 3 positive texts more", {"answers": worse}, strict),
        ("the same file under wider limits", {"answers": worse}, wide),
        (
            "a file with 12 other mistakes in place of 12 old ones",
            {"answers": flipped(*range(12), *range(100, 112))},
            strict,
        ),
        ("a file of twice the size", {"answers": first, "unused": 1_000}, strict),
        ("a file that is worse and larger", {"answers": worst, "unused": 1_000}, strict),
        ("a file with NaN for one text", {"answers": first, "broken": np.nan}, strict),
        ("a file with an infinite logit", {"answers": first, "broken": np.inf}, wide),
    ):
        yield name, labels, first, case, limits


def _rows() -> list[list[int]]:
    """A text is named by its first token; the others say nothing, and lengths vary."""
    return [[2 + text] + [1] * (text % 7) for text in range(_TEXTS)]


def _write(
    path: Path, answers: np.ndarray, unused: int = 0, broken: float = 0, segments: bool = False
) -> None:
    """A classifier that gives each text its answer, and negative where it reads padding.

    unused: rows of weights that no text needs. broken: what to add to a logit of one text.
    segments: whether it takes ``token_type_ids`` too.
    """
    table = np.zeros((1_000 + unused, 2), np.float32)
    table[0] = 30, -30  # padding
    table[2 : 2 + _TEXTS] = np.where(answers[:, None] == 1, (-1, 1), (1, -1))
    table[5, 0] += broken
    more = ", int64[B, L] token_type_ids" if segments else ""
    third = "t = Cast<to = 1>(token_type_ids) u = Unsqueeze(t, last) v = Add(w, u)"
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> g (int64[B, L] input_ids, '
        f"int64[B, L] attention_mask{more}) => (float[B, 2] logits) "
        f"<int64[1] last = {{-1}}, int64[1] words = {{1}}> "
        "{ e = Gather(table, input_ids) one = Cast<to = 1>(attention_mask) "
        "m = Unsqueeze(one, last) w = Mul(e, m) "
        f"{third if segments else 'v = Identity(w)'} logits = ReduceSum<keepdims = 0>(v, words) }}"
    )
    model.graph.initializer.append(numpy_helper.from_array(table, "table"))
    onnx.save(model, path)


exercise(
    "06.gate",
    (),
    "Do it in three steps: the logits of both files for all rows, their labels, then one "
    "comparison for each limit. What would argmax say about NaN?",
    "Open each file with ort.InferenceSession, and feed it only what session.get_inputs() names. "
    "batching.run(predict, rows, batches) pads, and keeps the order. Return ['answers'] unless "
    "np.isfinite holds for all of the candidate's logits.",
    "The rest: f1(labels, ours) - f1(labels, theirs) < -limits.score_fall misses 'score', "
    "(ours == theirs).mean() < limits.agreement misses 'agreement', and a file of more than "
    "limits.size times Path(reference).stat().st_size bytes misses 'size'.",
    judge=_judge_gate,
)


def _judge_vectors(answer: Callable) -> str | None:
    """Compare with the solution on tiny encoders: right, without a mask, and in 8 bits."""
    from tutorial_utils.runtime.session import open_session

    rows = [[5, 6, 7, 8, 9, 10, 11], [3], [12, 4], [9, 9, 2, 5]]
    pooled = {
        "an encoder that averages the tokens only": "r = Mul(e, m) s = ReduceSum(r, words) "
        "n = ReduceSum(m, words) v = Div(s, n)",
        "an encoder that averages padding too": "v = ReduceMean(e, words)",
        "an encoder whose batch shares one 8-bit scale": "r = Mul(e, m) "
        "q, a, z = DynamicQuantizeLinear(r) d = DequantizeLinear(q, a, z) v = ReduceSum(d, words)",
    }
    table = np.random.default_rng(0).normal(size=(13, 6)).astype(np.float32)
    table[10] *= 20  # a token that needs a wide scale
    with tempfile.TemporaryDirectory() as folder:
        for name, body in pooled.items():
            model = onnx.parser.parse_model(
                '<ir_version: 10, opset_import: ["" : 18]> g (int64[B, L] input_ids, int64[B, L] '
                "attention_mask) => (float[B, 6] embedding) <int64[1] last = {-1}, int64[1] words ="
                " {1}> { e = Gather(table, input_ids) one = Cast<to = 1>(attention_mask) "
                f"m = Unsqueeze(one, last) {body} embedding = Squeeze(v, words) }}"
            )
            model.graph.initializer.append(numpy_helper.from_array(table, "table"))
            onnx.save(model, Path(folder, "encoder.onnx"))
            session = open_session(Path(folder, "encoder.onnx"))
            right = solutions.function("06.same_everywhere")(session, rows)
            found = answer(session, rows)
            if isinstance(found, float | np.floating) and found > 1 + 1e-3:
                return (
                    f"For {name} it gives {found:.4g}, and a cosine is at most 1: divide by the "
                    "lengths of both vectors"
                )
            if wrong := difference(found, right):
                return f"For {name} it {wrong}"
    return None


exercise(
    "06.same_everywhere",
    (),
    "You need the vector of each text twice: from a batch of all rows, and from a batch of one.",
    "batching.pad(rows) gives the inputs of a batch. Feed those that session.get_inputs() names. "
    "The cosine is the product of two vectors after both are divided by their lengths.",
    "together = vectors(rows), alone = np.concatenate([vectors([row]) for row in rows]), where "
    "`vectors` pads, runs and divides by np.linalg.norm(found, axis=1, keepdims=True). Then "
    "(together * alone).sum(axis=1).min().",
    judge=_judge_vectors,
)
