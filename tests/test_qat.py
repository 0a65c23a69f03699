import copy

import numpy as np
import pytest
import torch

from benchmarks.search import qat
from tutorial_utils.graph import inspection
from tutorial_utils.runtime import inference

pytest.importorskip("torchao")
IDS = [[101, *range(2_000 + i, 2_010 + i), 102] for i in range(8)]
SHORT = qat.Tuning(steps=2, batch=4, learning_rate=1e-3)


def answers(model, inputs):
    with torch.no_grad():
        return model(**{k: torch.from_numpy(v) for k, v in inputs.items()}).numpy()


@pytest.fixture(scope="module")
def tuned(tiny_model):
    graph_module = qat.prepared(copy.deepcopy(tiny_model))
    return qat.train(graph_module, tiny_model, IDS, SHORT, progress=False)


def test_the_file_has_integers_and_is_the_function_that_was_tuned(tuned, tmp_path):
    inputs = inference.random_inputs(3, 11)
    exact = answers(copy.deepcopy(tuned), inputs)
    target = qat.converted(copy.deepcopy(tuned), tmp_path / "qdq.onnx")
    assert inspection.op_counts(target)["QuantizeLinear"] >= 8
    found = inference.onnx_predict(target)(inputs)
    np.testing.assert_allclose(found, exact, atol=0.02)


def test_the_weights_alone_go_back_into_the_model(tiny_model):
    prepared = qat.prepared(copy.deepcopy(tiny_model), dynamic=True)
    qat.train(prepared, tiny_model, IDS, SHORT, progress=False)
    model = qat.tuned_weights(prepared, copy.deepcopy(tiny_model))
    moved = [
        (a - b).abs().max().item()
        for a, b in zip(model.parameters(), tiny_model.parameters(), strict=True)
    ]
    assert max(moved) > 0
    assert max(moved) < 0.1
