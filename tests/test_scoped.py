"""Functions that change global settings of libraries restore them."""

import contextlib
import logging

import onnxruntime
import pytest
import torch
from transformers import BertConfig
from transformers.utils import logging as transformers_logging

from tutorial_utils.core import machine
from tutorial_utils.graph import export, quantization
from tutorial_utils.models import finetuning, torch_inference
from tutorial_utils.runtime import inference


@pytest.fixture
def transformers_settings():
    """Transformers with a user's verbose settings."""
    level, bar = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_info()
    transformers_logging.enable_progress_bar()
    yield
    transformers_logging.set_verbosity(level)
    if not bar:
        transformers_logging.disable_progress_bar()


@pytest.mark.parametrize("before", [logging.NOTSET, logging.INFO, logging.CRITICAL])
@pytest.mark.parametrize("error", [None, AssertionError])
def test_quantizing_restores_the_logging(before, error, tiny_onnx, tmp_path, monkeypatch):
    levels = []

    def quantize(_, target, **__):
        assert not logging.getLogger().isEnabledFor(logging.WARNING)
        if error:
            raise error
        target.touch()

    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", levels.append)
    monkeypatch.setattr(quantization, "quantize_dynamic", quantize)
    logging.disable(before)
    try:
        with pytest.raises(error) if error else contextlib.nullcontext():
            quantization.dynamic(tiny_onnx, tmp_path / "x.onnx", embeddings="float")
        assert logging.root.manager.disable == before
    finally:
        logging.disable(logging.NOTSET)
    assert levels == [3, 2]


def test_opening_a_classifier_restores_the_verbosity_of_transformers(
    transformers_settings, tmp_path
):
    from tutorial_utils.models import classifiers

    with pytest.raises(classifiers.BadClassifier):
        classifiers.open_classifier(tmp_path)
    assert transformers_logging.get_verbosity() == transformers_logging.INFO
    assert transformers_logging.is_progress_bar_enabled()


def test_seeded_models_do_not_change_the_random_state(monkeypatch):
    small = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    monkeypatch.setattr(finetuning, "BertConfig", lambda: small)
    state = torch.get_rng_state()
    first, second = (finetuning.bert_base().classifier.weight for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_predicting_restores_the_threads_of_torch(monkeypatch, tiny_model):
    monkeypatch.setenv("TUTORIAL_CORES", "3")
    inside = []

    class Model(torch.nn.Module):
        def forward(self, **inputs):
            inside.append(torch.get_num_threads())
            return tiny_model(**inputs)

    monkeypatch.setattr(finetuning, "bert_base", Model)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch_inference.torch_predict("bert-base")(inference.random_inputs(1, 8))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert inside == [machine.cores()]


def test_the_exporters_log_level_is_restored_after_an_error():
    logger = logging.getLogger("torch.onnx")
    before = logger.level

    def fails():
        with export.quiet_exporter():
            assert logger.level == logging.ERROR
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert logger.level == before
