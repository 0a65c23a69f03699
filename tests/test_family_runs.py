"""What is built, checked and timed of each family, with made-up engines: needs no other tool."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchmarks.common import no_bf16
from benchmarks.families import builds, comparison, engines
from benchmarks.families.targets import CPU, OPENVINO, POPULAR
from benchmarks.isolated import Crashed
from benchmarks.peers.targets import PYTORCH
from tutorial_utils.core import machine
from tutorial_utils.data import reviews
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.session import SessionRecipe

PARTS = ", 2 parts at a time"


def test_labels_are_in_the_order_of_the_rows_whatever_their_batches():
    class Longest:
        """1 for rows of more than three tokens."""

        def predict(self):
            return lambda inputs: np.eye(2)[(inputs["attention_mask"].sum(axis=1) > 3).astype(int)]

    rows = [[5] * length for length in (9, 2, 4, 3, 700, 1)]
    assert engines.labels(Longest(), rows, Padding()).tolist() == [1, 0, 1, 0, 1, 0]


def test_answers_that_are_not_finite_are_refused():
    class Broken:
        def predict(self):
            return lambda inputs: np.full((len(inputs["input_ids"]), 2), np.nan)

    with pytest.raises(ArithmeticError, match="NaN"):
        engines.labels(Broken(), [[1, 2]], Padding())


@dataclass(frozen=True)
class Same:
    """A checkpoint, and an engine: the label of a text is that of its number of tokens.

    wrong: for the first so many rows, another one.
    """

    wrong: int = 0
    padding: Padding = Padding()

    def encode(self, texts):
        return [[5] * len(text) for text in texts]

    def predict(self):
        def predict(inputs):
            labels = inputs["attention_mask"].sum(axis=1) % 2
            labels[: self.wrong] = 1 - labels[: self.wrong]
            return np.eye(2)[labels]

        return predict


@pytest.fixture
def here(monkeypatch):
    """Everything in this process, with made-up texts; returns what was built."""
    built = {}

    def run_here(function, *arguments):
        if function is engines.labels:
            return function(*arguments)
        built[function] = arguments
        if function is builds.openvino_int8:
            raise Crashed("ImportError: no nncf")
        if function in (builds.for_cpu, builds.for_openvino):
            return builds.Built({"Attention": 12}, kept=3)
        return None

    texts = reviews.Reviews(("a", "bb", "ccc", "dddd"), np.array([1, 0, 1, 0]), np.zeros(4))
    monkeypatch.setattr(comparison, "in_a_process", run_here)
    monkeypatch.setattr(reviews, "splits", lambda: reviews.Splits(texts, texts, texts))
    return built


def test_what_cannot_run_here_is_left_out_with_its_reason(here, monkeypatch, tmp_path):
    monkeypatch.setattr(comparison, "provider_problem", lambda name: f"no {name} here")
    monkeypatch.setattr(machine, "features", lambda: ("avx2",))
    found: dict = {"failed": {}, "fusions": {}, "kept": {}, "encoder": "classifier"}
    running = comparison.build(Same(), tmp_path, comparison.QUICK, found)
    assert list(running) == [PYTORCH, POPULAR, "OpenVINO bf16", CPU]
    assert (found["fusions"], found["kept"]) == ({CPU: {"Attention": 12}}, {CPU: 3})
    assert found["failed"] == {
        "PyTorch bf16": no_bf16(),
        "OpenVINO int8": "ImportError: no nncf",
        OPENVINO: "no openvino here",
    }
    assert builds.for_openvino not in here


def test_each_provider_that_runs_here_gets_its_own_file(here, monkeypatch, tmp_path):
    monkeypatch.setattr(comparison, "provider_problem", lambda name: None)
    monkeypatch.setattr(machine, "features", lambda: ("avx2", "amx_bf16"))
    found: dict = {"failed": {}, "fusions": {}, "kept": {}, "encoder": "classifier"}
    running = comparison.build(Same(), tmp_path, comparison.QUICK, found)
    assert running["PyTorch bf16"].bf16
    assert {CPU, OPENVINO} < set(running)
    assert running[CPU].path != running[OPENVINO].path
    assert [running[name].recipe.provider for name in (CPU, OPENVINO)] == ["cpu", "openvino"]


@pytest.mark.parametrize(("encoder", "careful"), [("classifier", True), ("random", False)])
def test_products_are_kept_in_fp32_only_for_answers_that_say_something(
    encoder, careful, here, monkeypatch, tmp_path
):
    monkeypatch.setattr(comparison, "provider_problem", lambda name: f"no {name} here")
    found: dict = {"failed": {}, "fusions": {}, "kept": {}, "encoder": encoder}
    comparison.build(Same(), tmp_path, comparison.QUICK, found)
    assert here[builds.for_cpu][-1] is careful


def test_answers_are_compared_with_pytorchs_on_the_same_sentences(here):
    class Broken(Same):
        def predict(self):
            raise Crashed("ended by SIGILL")

    running = {PYTORCH: Same(), "OpenVINO bf16": Broken(), "OpenVINO int8": Broken(), CPU: Same(1)}
    running[POPULAR] = Same(1)  # a peer that computes something else, unlike ours, has no time
    found: dict = {"failed": {}, "quality": {}}
    comparison.check(Same(), running, replace(comparison.QUICK, texts=4), found)
    assert found["classes"] == 2
    assert found["failed"] == {
        "OpenVINO int8": "ended by SIGILL",
        POPULAR: "it answers as PyTorch does in 75.0% only",
    }
    assert list(running) == [PYTORCH, "OpenVINO bf16", CPU]
    assert found["quality"][CPU]["agreement"] == 0.75


def test_a_large_batch_also_runs_in_parts_by_ours_and_by_openvino(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTORIAL_CORES", "2")
    running = {
        PYTORCH: engines.Torch(Same()),
        "OpenVINO int8": engines.OpenVino(tmp_path),
        CPU: engines.Ort(tmp_path, SessionRecipe(disabled_optimizers=("A",))),
        OPENVINO: engines.Ort(tmp_path, SessionRecipe("openvino")),
    }
    assert comparison.in_parts(running, 1, 128) == comparison.in_parts(running, 2, 128) == {}
    found = comparison.in_parts(running, 8, 128)
    assert list(found) == [f"OpenVINO int8{PARTS}", f"{CPU}{PARTS}"]
    theirs, ours = found.values()
    assert (theirs.rows, ours.rows, ours.workers) == (2, 2, 2)
    assert (ours.recipe.threads, ours.recipe.disabled_optimizers) == (1, ("A",))
    monkeypatch.setenv("TUTORIAL_CORES", "1")
    assert comparison.in_parts(running, 8, 128) == {}
