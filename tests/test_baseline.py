import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tutorial_utils.data import assets
from tutorial_utils.models import finetuning

RUN = """
import sys
import torch
torch.set_num_threads(1)
from tutorial_utils.data import reviews
from tutorial_utils.models import finetuning
full = reviews.splits()
reviews.splits = lambda: reviews.Splits(full.train.take(range(96)), full.validation, full.test)
finetuning.finetune(finetuning.Training(epochs=1, batch=8, checkpoint_every=3))
"""


def start(home: Path) -> subprocess.Popen:
    home.mkdir(exist_ok=True)
    if not (home / "assets").exists():
        (home / "assets").symlink_to(finetuning.paths.home() / "assets")
    environment = os.environ | {"TUTORIAL_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-c", RUN], env=environment)


def weights(home: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(home / "classifier" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.built
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_fine_tuning_goes_on_and_ends_with_the_same_weights(tmp_path):
    assets.fetch(assets.ENCODER)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait(300) == 0
    killed = start(broken)
    deadline = time.monotonic() + 200
    while not (broken / "finetuning.pt").exists():
        assert killed.poll() is None, "it ended before it wrote a checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (broken / "classifier" / "training.json").exists()
    assert torch.load(broken / "finetuning.pt", weights_only=True)["step"] < 12
    assert start(broken).wait(300) == 0
    expected, found = weights(whole), weights(broken)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not (broken / "finetuning.pt").exists()


def test_other_settings_make_the_stored_classifier_stale(tmp_path):
    folder = finetuning.classifier_folder()
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(finetuning.made_by()))
    assert finetuning.finetuned()
    assert not finetuning.finetuned(finetuning.Training(epochs=3))


@pytest.mark.parametrize("what", ["settings", "assets", "code", "libraries"])
def test_other_data_code_or_libraries_make_the_stored_classifier_stale(what):
    folder = finetuning.classifier_folder()
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(finetuning.made_by() | {what: "another"}))
    assert not finetuning.finetuned()


def test_batches_hold_each_sentence_once_and_are_of_like_length():
    rng = np.random.default_rng(0)
    ids = [[1] * int(n) for n in rng.integers(3, 60, 500)]
    groups = finetuning.batches(ids, 32, np.random.default_rng(1))
    assert sorted(np.concatenate(groups)) == list(range(500))
    spreads = [np.ptp([len(ids[i]) for i in group]) for group in groups]
    assert np.median(spreads) <= 8
    again = finetuning.batches(ids, 32, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(groups, again, strict=True))


def test_the_learning_rate_rises_falls_and_ends_near_zero():
    rates = [finetuning._learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_the_bert_base_shape_is_the_same_each_time():
    first, second = finetuning.bert_base(), finetuning.bert_base()
    assert sum(p.numel() for p in first.parameters()) == 109_483_778
    assert torch.equal(first.classifier.weight, second.classifier.weight)
