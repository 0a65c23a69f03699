"""A service with a model of single bytes, in a thread, behind a real socket."""

import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import uvicorn
from onnx import TensorProto, helper, numpy_helper
from tiny_models import LABELS
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tutorial_utils.drift import profile
from tutorial_utils.registry import ModelForm, write_version
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.serving.http import app
from tutorial_utils.serving.process import connection, server
from tutorial_utils.serving.settings import Settings

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = ("a", "quiet", "story", "told", "with", "care", "and", "wit", "that", "holds", "until")


def mean_of_tokens() -> onnx.ModelProto:
    """A classifier whose logits are the mean of a vector per token, so padding does not matter."""
    said = np.random.default_rng(0).normal(0, 2, (256 + len(SPECIAL), 2)).astype(np.float32)
    constants = {"table": said, "one": np.array([1]), "two": np.array([2])}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["said"]),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "two"], ["column"]),
        helper.make_node("Mul", ["said", "column"], ["heard"]),
        helper.make_node("ReduceSum", ["heard", "one"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["real", "one"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "mean", inputs, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def bytes_as_tokens() -> Tokenizer:
    """One token per byte, between [CLS] and [SEP]."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    made.add_special_tokens(SPECIAL)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return made


def bytes_as_tokens_of_pairs() -> Tokenizer:
    """One token per byte; a second text and the [SEP] behind it are in segment 1."""
    made = bytes_as_tokens()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return made


def sentences(count: int, seed: int = 0) -> list[str]:
    """Texts of a few words; the same seed gives the same texts."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(4, 20))) for _ in range(count)]


def publish(registry: Path, normal: Sequence[str] = (), made: Recipe = Recipe()) -> None:
    """Write a version of ``sentiment``; with a profile if ``normal`` texts are given."""
    with tempfile.TemporaryDirectory() as scratch:
        model, tokenizer = Path(scratch, "model.onnx"), Path(scratch, "tokenizer.json")
        onnx.save(mean_of_tokens(), model)
        bytes_as_tokens().save(str(tokenizer))
        known = profile.of_model(model, made, tokenizer, normal).to_dict() if normal else None
        forms = [ModelForm(model, made)]
        write_version(registry, "sentiment", forms, tokenizer, LABELS, profile=known)


@contextmanager
def running(settings: Settings, application: app.Service | None = None):
    """The service as ``serve`` starts it, in a thread; yields a client, with its ``port``."""
    application = application or app.create(settings)
    config = uvicorn.Config(
        application, port=0, log_config=None, ws="none", http=connection.Connection
    )
    made = server.Server(application, config)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    while not made.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = made.servers[0].sockets[0].getsockname()[1]
    # The server closes idle connections after its ``patience``: the client has to give them up
    # first, or a request meets the closing of its connection.
    limits = httpx.Limits(keepalive_expiry=settings.patience / 5)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits) as client:
        client.port = port
        yield client
    made.should_exit = True
    thread.join(60)
    assert not thread.is_alive(), "the server did not stop"
