"""Estimate how long ``optimize`` takes here, from the size of the model and the texts."""

import time

import numpy as np

from tutorial_utils.core import machine, scoped
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize.job import QUICK, Effort
from tutorial_utils.optimize.texts import Texts

# What a run costs, thorough or quick: seconds to start processes and for their rounds; seconds for
# each million parameters, which are written and read in several files; and how often all texts are
# run, in runs of PyTorch's. It rests on runs of our own classifier with 2,000 texts, on two cores:
# 3.5 processor minutes with --quick, and 10.7 without. Nine families at base size took 0.6 to 1.7
# times what it says of --quick (benchmarks/results/…/families.md).
_COST = {True: (320, 0.9, 4.0), False: (120, 0.5, 2.0)}


def minutes(
    classifier: Classifier, parameters: int, texts: Texts, count: int
) -> tuple[float, float]:
    """About how many minutes a run takes, and how many a quick one.

    texts: those that show how long texts are. count: how many there are in all.
    """
    tokens = sum(map(len, texts.rows)) / len(texts)
    text = classifier.operations * tokens / _operations_per_second()  # seconds, in PyTorch

    def estimate(effort: Effort) -> float:
        start, a_million, runs = _COST[effort.thorough]
        once = min(count, effort.max_texts) * text
        return (start + a_million * parameters / 1e6 + runs * once) / 60

    return estimate(Effort()), estimate(QUICK)


def _operations_per_second() -> float:
    """Of PyTorch in a product of matrices as in BERT-base; takes about 0.1 s to find out."""
    import torch

    a, b, times = torch.ones(512, 768), torch.ones(768, 3072), []
    with scoped.torch_threads(machine.cores()):
        for _ in range(4):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
    return 2 * a.numel() * b.shape[1] / float(np.median(times))
