"""The GPU measurement, run on the CPU: the same code with the provider swapped."""

import json
import mmap
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.common import ROOT, STORED
from benchmarks.gpu import graphs, report, weights
from benchmarks.gpu.candidates import ALL, EAGER, MASKED, ORT
from benchmarks.gpu.onnx_runner import Onnx
from benchmarks.gpu.runner import inputs
from benchmarks.gpu.stages import difference
from benchmarks.gpu.torch_runner import Torch
from benchmarks.gpu.workers import Failed, Worker

STEP = "ONNX Runtime fp32 with TF32, CUDA graph"


@dataclass(frozen=True)
class Stuck:
    """A candidate that is built and then never answers, or fails while it is built."""

    fails: bool = False

    def build(self, folder, config, device):
        if self.fails:
            raise ValueError("no such graph")
        return self

    def sleep(self):
        time.sleep(600)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    graphs.build(folder, graphs.TINY)
    return folder


def test_a_candidate_that_never_answers_is_stopped():
    worker = Worker(Stuck(), Path(), {}, "cpu")
    with pytest.raises(Failed, match="sleep took more than 1 s"):
        worker.ask("sleep", timeout=1, build=60)
    assert not worker.process.is_alive()


def test_a_candidate_that_cannot_be_built_says_why():
    worker = Worker(Stuck(fails=True), Path(), {}, "cpu")
    with pytest.raises(Failed, match="no such graph"):
        worker.ask("sleep", timeout=1, build=60)
    worker.stop()


def test_weights_depend_on_the_name_alone():
    first = weights.draw("encoder.layer.0.output.dense.weight", (64, 32))
    assert np.array_equal(first, weights.draw("encoder.layer.0.output.dense.weight", (64, 32)))
    assert not np.array_equal(first, weights.draw("encoder.layer.1.output.dense.weight", (64, 32)))


def test_the_provider_knows_every_option_that_is_given_to_it():
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.exists():
        pytest.skip("this build of ONNX Runtime has no CUDA provider")
    options = {name for c in ALL.values() if isinstance(c, Onnx) for name in c.options}
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        for name in options | {"enable_cuda_graph", "user_compute_stream"}:
            assert code.find(name.encode()) >= 0, name


def test_a_wrong_state_is_seen():
    state = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    logits, valid = state[:, 0, :2], np.ones((2, 3), bool)
    assert difference((logits, state), (logits, state), valid)["relative"] == 0
    wrong = difference((logits, state), (logits, state[:, :, ::-1]), valid)
    assert wrong["relative"] > 0.5
    assert wrong["agreement"] < 1
    assert not difference((logits, state), (logits, state * np.nan), valid)["finite"]


def test_the_floor_is_bytes_for_few_tokens_and_operations_for_many():
    roof = {"bytes per second": 3e12, "operations per second": 8e14}
    few, binding = report.floor({}, "1x128", roof)
    assert binding == "bytes"
    assert few == pytest.approx(1e3 * 2 * 12 * 12 * 768**2 / 3e12)  # fp16 weights of 12 layers
    assert report.floor({}, "32x128", roof)[1] == "operations"


def test_a_run_that_was_cut_in_its_first_round_has_a_report():
    file = STORED / "nvidia-h100-80gb-hbm3" / "gpu.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    found |= {"rounds": {"1x128": {"device": {ORT: [0.5]}}}, "steps": {}, "compiled": {}}
    del found["texts"]
    assert "0.500" in report.markdown(found)


@pytest.mark.parametrize("file", sorted(STORED.glob("*/gpu*.json")), ids=lambda f: f.stem)
def test_the_stored_report_is_that_of_the_stored_figures(file):
    found = json.loads(file.read_text(encoding="utf-8"))
    assert file.with_suffix(".md").read_text(encoding="utf-8") == report.markdown(found)
    assert found["seconds"]["all"] <= 300
    assert all(row["finite"] and row["agreement"] > 0.99 for row in found["parity"])


def test_graphs_are_fused_small_and_hold_no_weights(tiny):
    sizes = [file.stat().st_size for file in tiny.glob("*.onnx")]
    assert len(sizes) == 6
    assert max(sizes) < 500_000
    operators = [n.op_type for n in onnx.load(tiny / "fused_fp16.onnx").graph.node]
    layers = graphs.TINY["num_hidden_layers"]
    for op, count in {
        "Attention": layers, "SkipLayerNormalization": 2 * layers, "BiasGelu": layers,
        "EmbedLayerNormalization": 1, "Cast": 0,
    }.items():  # fmt: skip
        assert operators.count(op) == count, op
    filled = weights.fill(tiny / "fused_fp16.onnx")
    kinds = {
        i.data_type for i in filled.graph.initializer if onnx.numpy_helper.to_array(i).size > 1
    }
    assert kinds == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize(
    "graph",
    ["fused_fp32", "fused_fp16", "masked_fp16", "plain_fp16", "cls_fp16", "cls_masked_fp16"],
)
def test_a_graph_filled_from_the_seed_answers_as_pytorch_does(tiny, graph):
    candidate = Onnx(graph)
    given = inputs((3, 17), graphs.TINY["vocab_size"], seed=1, padded=candidate.takes_mask)
    reference = Torch("float32").build(tiny, graphs.TINY, "cpu")
    expected = reference.state(*given)
    seen = difference(
        expected, candidate.build(tiny, graphs.TINY, "cpu").state(*given), given[2] > 0
    )
    assert seen["relative"] < (1e-5 if "fp32" in graph else 5e-3)
    assert seen["labels"] == 1


@pytest.mark.slow
def test_the_whole_run_works_on_the_cpu(tiny, tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", tiny, tmp_path, "--provider", "cpu"]
    command += ["--shapes", "1x8", "2x16", "--rounds", "2", "--seconds", "0.01", "--limit", "280"]
    done = subprocess.run([*command, "--only", ORT, EAGER, MASKED, STEP], cwd=ROOT, timeout=300)
    assert done.returncode == 0
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["failures"] == {}
    for shape in ("1x8", "2x16"):
        for measure in ("device", "host"):
            rounds = found["rounds"][shape][measure]
            assert {name: len(times) for name, times in rounds.items()} == dict.fromkeys(rounds, 2)
            assert set(rounds) == {ORT, EAGER, MASKED}
    assert STEP in found["steps"]["2x16"]["device"]
    assert {row["candidate"] for row in found["parity"] if row["padded"]} == {EAGER, MASKED}
    assert all(row["relative"] < 5e-3 for row in found["parity"])
    assert set(found["texts"]["rates"]["32"]) == {ORT, EAGER}
    assert "No GPU" in (tmp_path / "gpu.md").read_text(encoding="utf-8")
