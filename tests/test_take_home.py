"""The recipe that learners take home works without the package, and is as good as its files."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tutorial_utils.data import reviews
from tutorial_utils.graph import inspection
from tutorial_utils.lessons import pipeline

RECIPE = Path(__file__).parents[1] / "recipes" / "fast_bert.py"
pytestmark = pytest.mark.built


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Its file of the course's classifier, and what it printed."""
    target = tmp_path_factory.mktemp("recipe") / "model.onnx"
    texts = ("A joy from start to finish.", "Dull and far too long.")
    command = [sys.executable, str(RECIPE), str(pipeline.ensure("pytorch")), str(target), *texts]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return target, done.stdout


def test_it_is_short_and_needs_nothing_of_the_package():
    text = RECIPE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    imports = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not any("tutorial_utils" in ast.unparse(one) for one in imports)


def test_it_labels_texts_from_the_command_line(made):
    assert made[1].splitlines() == ["1 A joy from start to finish.", "0 Dull and far too long."]


def test_its_file_is_as_small_and_as_fused_as_the_series(made):
    ours = pipeline.ensure("int8")
    assert made[0].stat().st_size == pytest.approx(ours.stat().st_size, rel=0.05)
    counts, series = inspection.op_counts(made[0]), inspection.op_counts(ours)
    # The course's file takes the last layer's attention apart, to compute one position only.
    assert counts["QAttention"] == series["QAttention"] + series["MultiHeadAttention"]
    assert inspection.weight_megabytes(made[0]) < 0.27 * inspection.weight_megabytes(
        pipeline.ensure("exported")
    )


def test_its_labels_are_those_of_the_series_and_of_pytorch(made):
    from transformers import AutoTokenizer

    recipe = runpy.run_path(str(RECIPE))
    tokenizer = AutoTokenizer.from_pretrained(pipeline.ensure("pytorch"))
    texts = reviews.splits().test.texts  # 500 do not resolve two percent
    found = recipe["logits"](recipe["session"](made[0]), tokenizer, texts).argmax(1)
    for file in ("int8", "exported"):  # the second computes what PyTorch does
        session = recipe["session"](pipeline.ensure(file))
        right = recipe["logits"](session, tokenizer, texts).argmax(1)
        assert (found == right).mean() >= 0.98, file


def test_its_batches_hold_each_text_once_and_keep_to_the_budget():
    batches = runpy.run_path(str(RECIPE))["batches"]
    lengths = np.random.default_rng(0).integers(2, 500, 300).tolist()
    made = batches(lengths, 1024)
    assert sorted(i for batch in made for i in batch) == list(range(300))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 1024 for b in made)
    assert batches([9_999], 1024) == [[0]]
