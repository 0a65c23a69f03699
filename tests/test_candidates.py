"""The candidates of notebooks and benchmarks give right labels with every way to batch."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.search import runtime
from tutorial_utils import plots
from tutorial_utils.bench import candidates
from tutorial_utils.data import reviews
from tutorial_utils.lessons import pipeline
from tutorial_utils.models import labelling
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe

TEXTS = labelling.sentences("test", 23)
BUILD = """import pickle, sys
print(pickle.load(sys.stdin.buffer).build()().shape)
print("torch" in sys.modules, "onnx" in sys.modules)"""


def length_is_odd(inputs):
    """Logits from each text's own tokens: label 1 if their number is odd."""
    odd = inputs["attention_mask"].sum(axis=1) % 2
    return np.stack([1 - odd, odd], axis=1)


@pytest.mark.parametrize("window", [1, 5, 23, 24])
@pytest.mark.parametrize("how", [{"budget": 64}, {"budget": 64, "by_length": False}, {}])
def test_labels_are_in_the_order_of_the_texts_for_every_window(window, how, monkeypatch):
    expected = [len(row) % 2 for row in reviews.encode(TEXTS)]
    assert 0 < sum(expected) < len(TEXTS)
    monkeypatch.setattr(labelling, "WINDOW", window)
    assert labelling.label(TEXTS, length_is_odd, **how).tolist() == expected


def test_the_process_that_times_a_file_loads_no_pytorch(tiny_onnx):
    candidate = candidates.OnRows(tiny_onnx, Recipe(), ((101, 7, 102), (101, 102)))
    command = [sys.executable, "-c", BUILD]
    done = subprocess.run(command, input=pickle.dumps(candidate), capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == ["(2, 2)", "False False"]


@pytest.mark.built
def test_a_session_per_worker_gives_the_same_labels_as_one_session():
    given = (pipeline.ensure("fused"), SessionRecipe(threads=1), 256)
    one, each = (
        kind(*given, workers=2, width=None, items=40).build()()
        for kind in (candidates.Labelling, runtime.Sessions)
    )
    assert one.tolist() == each.tolist()


def test_each_bar_of_a_histogram_covers_equally_many_whole_numbers():
    evenly = list(range(4, 80)) * 3
    (axis,) = plots.histogram(evenly, title="t", x="x", y="y").axes
    heights = [bar.get_height() for bar in axis.patches]
    assert sum(heights) == len(evenly)
    assert len(set(heights[:-1])) == 1
    assert heights[-1] <= heights[0]
