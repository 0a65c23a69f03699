"""Shared fixtures: a tiny BERT, exported once, and a home folder for each test."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(autouse=True)
def _home_of_its_own(tmp_path, monkeypatch, request):
    """Each test writes to its own folder, unless it needs what ``make prepare`` built."""
    monkeypatch.delenv("TUTORIAL_PACE", raising=False)
    monkeypatch.setenv("TUTORIAL_WORKBOOK", str(tmp_path / "workbook"))
    if "built" not in request.keywords:
        monkeypatch.setenv("TUTORIAL_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def tiny_model():
    """BERT with two small layers and seeded weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=2,
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture(scope="session")
def tiny_onnx(tiny_model, tmp_path_factory) -> Path:
    """The tiny BERT, exported by the current exporter."""
    from tutorial_utils.graph import export

    return export.export(tiny_model, tmp_path_factory.mktemp("tiny") / "exported.onnx")


@pytest.fixture(scope="session")
def tiny_fused(tiny_onnx, tmp_path_factory) -> Path:
    """The tiny BERT with every fusion that applies."""
    from tutorial_utils.graph import fusion

    target = tmp_path_factory.mktemp("tiny") / "fused.onnx"
    fusion.fuse(tiny_onnx, target)
    return target
