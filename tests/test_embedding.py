"""Vectors of texts: how close they are, and the way to a caller."""

import numpy as np
import onnx
import pytest
import service
from onnx import TensorProto, helper, numpy_helper
from scipy import stats

from tutorial_utils import quality
from tutorial_utils.registry import BadModel, ModelForm, load, write_version
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.rollout import shadow
from tutorial_utils.tasks import TASKS, Truth

EMBEDDING = TASKS["embedding"]
WIDTH = 5
TEXTS = ["a", "a quiet story", "told with care and wit"]


def mean_vector(output: str = "embedding") -> onnx.ModelProto:
    """The mean of a vector per token, without padding."""
    made = service.mean_of_tokens()
    table = np.random.default_rng(0).normal(0, 1, (300, WIDTH)).astype(np.float32)
    held = {i.name: i for i in made.graph.initializer}
    held["table"].CopyFrom(numpy_helper.from_array(table, "table"))
    made.graph.node[-1].output[0] = output
    made.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", WIDTH])
    )
    return made


@pytest.fixture
def registry_path(tmp_path):
    onnx.save(mean_vector(), tmp_path / "model.onnx")
    service.bytes_as_tokens().save(str(tmp_path / "tokenizer.json"))
    forms, tokenizer = [ModelForm(tmp_path / "model.onnx")], tmp_path / "tokenizer.json"
    write_version(tmp_path / "r", "sentiment", forms, tokenizer, (), task="embedding")
    return tmp_path / "r"


def expected(texts):
    made = mean_vector()
    table = numpy_helper.to_array(next(i for i in made.graph.initializer if i.name == "table"))
    rows = [e.ids for e in service.bytes_as_tokens().encode_batch(texts)]
    return np.stack([table[row].mean(axis=0) for row in rows])


def test_a_file_without_the_output_of_its_task_is_refused(tmp_path):
    onnx.save(mean_vector("logits"), tmp_path / "model.onnx")
    service.bytes_as_tokens().save(str(tmp_path / "tokenizer.json"))
    forms, tokenizer = [ModelForm(tmp_path / "model.onnx")], tmp_path / "tokenizer.json"
    write_version(tmp_path / "r", "m", forms, tokenizer, (), task="embedding")
    with pytest.raises(BadModel, match=r"gives \['embedding'\]"):
        load(tmp_path / "r", "m")


def test_a_shadow_compares_the_directions_of_vectors(registry_path):
    manifest = load(registry_path, "sentiment").manifest
    base = np.eye(4, 3, dtype=np.float32)[[0, 1, 2, 0]]
    other = base * 2 + np.array([[0, 0, 0], [0, 0.1, 0], [1, 1, 0], [0, 0, 0.1]])

    def answer(values):
        return Prediction(values, 0, 0, 0, manifest)

    assert shadow.same_answers(answer(base), answer(other)) == [True, True, False, True]
    assert shadow.same_answers(answer(base), answer(other[:, :2])) == [False] * 4


# How close vectors are.


def test_closeness_has_the_cosine_its_fifth_percentile_and_the_neighbours():
    rng = np.random.default_rng(0)
    right = rng.normal(0, 1, (200, 16))
    near = right + rng.normal(0, 0.05, right.shape)
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(right, near, strict=False)
    ]
    mean, fifth, common = EMBEDDING.closeness(near, right)
    assert mean.value == pytest.approx(np.mean(cosines))
    assert fifth.value == pytest.approx(np.percentile(cosines, 5))
    assert (mean.least, fifth.least, common.least) == (0.99, 0.97, 0.8)
    assert 0.8 < common.value < 1
    assert [close.value for close in EMBEDDING.closeness(3 * right, right)] == pytest.approx(
        [1] * 3
    )
    shuffled = EMBEDDING.closeness(np.roll(right, 1, axis=0), right)
    assert all(close.value < close.least for close in shuffled)


def test_common_neighbours_are_those_of_a_plain_count():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, (2, 40, 6))

    def nearest(vectors):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return [set(np.argsort(-(unit @ unit[i]))[1:11]) for i in range(40)]

    right = np.mean(
        [len(a & b) / 10 for a, b in zip(nearest(first), nearest(second), strict=False)]
    )
    assert quality.common_neighbours(first, second) == pytest.approx(right)
    assert quality.common_neighbours(first[:1], second[:1]) == 1
    assert quality.common_neighbours(first[:3], first[:3]) == 1


def test_scored_pairs_give_spearman_of_the_cosine_and_the_labels():
    rng = np.random.default_rng(2)
    right = rng.normal(0, 1, (400, 8))
    labels = np.repeat(rng.integers(0, 6, 200), 2).astype(float)
    worse = right + rng.normal(0, 1, right.shape)
    found = EMBEDDING.evaluate(worse, right, Truth(labels))
    cosines = quality.cosine(worse[::2], worse[1::2])
    assert found.metric == "Spearman"
    assert found.score == pytest.approx(stats.spearmanr(cosines, labels[::2]).statistic)
    assert found.low < found.difference < found.high
    assert EMBEDDING.evaluate(right, right, Truth(labels)).difference == 0
