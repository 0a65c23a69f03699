"""Versions for a GPU: their graph in fp16, their batches, and the form for a CPU beside them.

All of it runs on the CPU here: the same code with the provider swapped.
"""

import asyncio
import json
import logging
import mmap
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import service
import tiny_models
from onnx import TensorProto, numpy_helper

from tutorial_utils import cli, registry
from tutorial_utils.graph import fusion, half_precision
from tutorial_utils.optimize.target import TARGETS
from tutorial_utils.registry import BadModel, ModelForm, forms, opening
from tutorial_utils.registry.loaded import LoadedModel
from tutorial_utils.runtime import batching, memory, session
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.inference import onnx_predict
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import PROVIDERS, ProviderUnavailable, SessionRecipe
from tutorial_utils.serving.rollout.deployment import Deployment
from tutorial_utils.serving.settings import Settings

OOM = "Failed to allocate memory for requested buffer of size 7"
ROWS = [[5, 9, 11], [7, 8], [4] * 12]


def initializers(path):
    return {i.name: i.data_type for i in onnx.load(path).graph.initializer if len(i.dims) > 1}


@pytest.mark.parametrize("form", ["tiny_onnx", "tiny_fused"])
def test_fp16_keeps_sums_in_fp32_and_answers_as_fp32_does(form, request, tmp_path):
    source, target = request.getfixturevalue(form), tmp_path / "half.onnx"
    half_precision.to_fp16(source, target)
    floats = {kind for kind in initializers(target).values() if kind != TensorProto.INT64}
    assert floats == {TensorProto.FLOAT16}
    types = {
        value.name: value.type.tensor_type.elem_type
        for model in [onnx.shape_inference.infer_shapes(onnx.load(target))]
        for value in [*model.graph.value_info, *model.graph.output, *model.graph.input]
    }
    kept = [n for n in onnx.load(target).graph.node if n.op_type in half_precision.KEPT]
    assert kept or form == "tiny_fused"
    assert {types[node.output[0]] for node in kept} <= {TensorProto.FLOAT}
    assert types["logits"] == TensorProto.FLOAT
    inputs = batching.pad(ROWS)
    right, ours = onnx_predict(source)(inputs), onnx_predict(target)(inputs)
    assert ours.dtype == np.float32
    assert 0 < np.abs(ours - right).max() < 5e-3


@pytest.mark.parametrize(("value", "fits"), [(6e4, True), (7e4, False), (-7e4, False)])
def test_a_weight_beyond_fp16_is_refused_and_not_cut(value, fits, tiny_onnx, tmp_path):
    model, target = onnx.load(tiny_onnx), tmp_path / "half.onnx"
    weight = next(i for i in model.graph.initializer if len(i.dims) == 2 and i.data_type == 1)
    array = numpy_helper.to_array(weight).copy()
    array[0, 0] = value
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(model, tmp_path / "large.onnx")
    if fits:
        half_precision.to_fp16(tmp_path / "large.onnx", target)
        assert target.exists()
    else:
        with pytest.raises(half_precision.OutOfRange, match=r"reaches 7e\+04.*Use the fp32 file"):
            half_precision.to_fp16(tmp_path / "large.onnx", target)
        assert not target.exists()


def test_numbers_of_tokens_stand_for_the_mask_if_padding_is_on_the_right(tiny_fused, tmp_path):
    counted = tmp_path / "counted.onnx"
    assert fusion.count_tokens(tiny_fused, counted) == 2
    assert Counter(n.op_type for n in onnx.load(counted).graph.node)["ReduceSum"] == 1
    ours, right = onnx_predict(counted), onnx_predict(tiny_fused)
    for side, same in (("right", True), ("left", False)):
        inputs = batching.pad(ROWS, padding=Padding(side=side))
        assert np.allclose(ours(inputs), right(inputs), atol=1e-5) is same


def test_the_cuda_provider_knows_every_option_that_a_version_may_give_it():
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.exists():
        pytest.skip("this build of ONNX Runtime has no CUDA provider")
    form = ModelForm(Path(), Recipe(session=TARGETS["cuda"].session))
    options = forms.limited(form, 10**9).recipe.session.provider_options
    assert options == {"gpu_mem_limit": "1000000000"}
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        for name in options:
            assert code.find(b"\0" + name.encode() + b"\0") >= 0, name
        assert code.find(b"\0no_such_option\0") < 0


@pytest.mark.skipif(session.provider_problem("cuda") is None, reason="there is a GPU")
def test_without_a_gpu_optimize_says_so_before_it_does_anything(tmp_path, capsys):
    arguments = ["optimize", str(tmp_path / "no model"), "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--provider", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "ProviderUnavailable: CUDAExecutionProvider is not usable here" in said
    assert 'pip install ".[gpu]"' in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fits", "budget", "expected"),
    [
        (10**9, 4096, 4096),
        (2048, 4096, 2048),
        (1500, 4096, 1024),
        (100, 4096, 128),
        (100, 100, 100),
    ],
)
def test_the_budget_is_halved_until_the_largest_batch_fits(fits, budget, expected):
    shapes = []

    def predict(inputs):
        shapes.append(inputs["input_ids"].shape)
        if inputs["input_ids"].size > fits:
            raise RuntimeError(OOM)

    assert memory.largest_budget(predict, [7] * 100, budget) == expected
    assert shapes[0] == (max(1, budget // 100), 100)


def test_what_is_no_matter_of_memory_or_does_not_fit_at_all_is_raised():
    def predict(inputs):
        raise RuntimeError(told)

    for told in (OOM, "a kernel failed"):
        with pytest.raises(RuntimeError, match=told):
            memory.largest_budget(predict, [7] * 100, 50 if told == OOM else 4096)


LIMITED = """
import sys
import onnxruntime as ort
from tutorial_utils import registry
from tutorial_utils.registry import opening

arena = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
place = ort.OrtMemoryInfo("Cpu", arena, 0, ort.OrtMemType.DEFAULT)
limits = {"max_mem": 40_000_000, "arena_extend_strategy": 1}
ort.create_and_register_allocator(place, ort.OrtArenaCfg(limits))
model = registry.load(sys.argv[1], "sentiment")
print(model.recipe.token_budget, opening.fitted(model).recipe.token_budget)
"""


def test_batches_fit_into_a_memory_that_really_is_too_small(tiny_fused, tmp_path):
    config = {"session.use_env_allocators": "1"}
    recipe = Recipe(session=SessionRecipe(config=config), max_length=128, token_budget=65_536)
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps(tiny_models.TOKENIZER))
    one = [ModelForm(tiny_fused, recipe)]
    registry.write_version(tmp_path / "r", "sentiment", one, tokenizer, tiny_models.LABELS)
    command = [sys.executable, "-c", LIMITED, tmp_path / "r"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    wanted, fitting = map(int, done.stdout.split())
    assert wanted == 65_536
    assert 128 <= fitting < wanted


@pytest.fixture
def gpu(monkeypatch):
    """A machine on which the provider ``cuda`` runs: it is the CPU's."""

    real = session.provider_problem

    def problem(name):
        return None if name == "cuda" else real(name)

    monkeypatch.setitem(PROVIDERS, "cuda", "CPUExecutionProvider")
    monkeypatch.setattr(session, "provider_problem", problem)


def two_forms(folder: Path, cpu: bool = True) -> Path:
    """A version of bytes in two forms: for CUDA with large batches, and for a CPU with small."""
    service.publish(folder)
    version = folder / "sentiment" / "1"
    on_gpu = Recipe(("gpu",), SessionRecipe("cuda"), token_budget=512, max_length=64)
    on_cpu = Recipe(("cpu",), token_budget=128, max_length=64)
    both = [
        ModelForm(version / "model.onnx", recipe, precision)
        for recipe, precision in ((on_gpu, "fp16"), (on_cpu, "fp32"))
    ]
    tokenizer = version / "tokenizer.json"
    registry.write_version(
        folder, "sentiment", both if cpu else both[:1], tokenizer, tiny_models.LABELS
    )
    return folder


@pytest.mark.skipif(session.provider_problem("cuda") is None, reason="there is a GPU")
def test_without_a_gpu_the_form_for_a_cpu_is_opened_and_the_log_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        model = registry.load(two_forms(tmp_path), "sentiment")
    assert model.form.provider == "CPUExecutionProvider"
    assert model.spare is None
    assert "sentiment 2 runs on the CPU, since cuda does not here: lib" in caplog.text


@pytest.mark.skipif(session.provider_problem("cuda") is None, reason="there is a GPU")
def test_what_the_service_says_while_it_opens_a_version_is_in_the_format_of_its_log(tmp_path):
    command = [sys.executable, "-m", "tutorial_utils", "serve", "--port", "0"]
    command += ["--registry", str(two_forms(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        line = server.stdout.readline()
        server.terminate()
        server.communicate(timeout=60)
    assert "runs on the CPU" in json.loads(line)["event"]


def test_with_a_gpu_both_forms_are_opened_and_the_budget_is_fitted(tmp_path, gpu, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "largest_budget", lambda *given: asked.append(given) or 256)
    model = registry.load(two_forms(tmp_path), "sentiment")
    assert (model.recipe.steps, model.recipe.token_budget) == (("gpu",), 256)
    assert model.spare.recipe.steps == ("cpu",)
    ((_, row, budget, _),) = asked
    assert (len(row), budget) == (64, 512)


def lost(path, recipe):
    if recipe.provider == "cuda":
        raise ProviderUnavailable("the device is gone")
    return session.open_session(path, recipe)


def test_a_gpu_that_is_gone_leaves_the_form_for_a_cpu(tmp_path, gpu, monkeypatch, caplog):
    monkeypatch.setattr(opening, "open_session", lost)
    with caplog.at_level(logging.WARNING):
        model = registry.load(two_forms(tmp_path / "both"), "sentiment")
    assert model.recipe.steps == ("cpu",)
    assert "the device is gone; its form for a CPU runs instead" in caplog.text
    with pytest.raises(BadModel, match="the device is gone"):
        registry.load(two_forms(tmp_path / "one", cpu=False), "sentiment")


def test_a_gpu_too_small_for_one_text_is_no_reason_to_run_on_the_cpu(tmp_path, gpu, monkeypatch):
    def full(*given):
        raise RuntimeError(OOM)

    monkeypatch.setattr(memory, "largest_budget", full)
    with pytest.raises(BadModel, match=r"cannot answer a text of 64 tokens.*Free some, allow"):
        registry.load(two_forms(tmp_path), "sentiment")


@pytest.mark.parametrize(
    ("told", "device", "little"),
    [
        ("CUDA failure 35: CUDA driver version is insufficient; GPU=0", True, False),
        ("CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available", True, False),
        ("CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0", True, False),
        ("CUDA failure 2: out of memory ; GPU=0", False, True),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", False, True),
        ("CUBLAS failure 1: CUBLAS_STATUS_NOT_INITIALIZED", False, True),
        ("Load model failed: Protobuf parsing failed", False, False),
    ],
)
def test_errors_of_a_device_of_its_memory_and_of_a_file_are_distinguished(told, device, little):
    error = RuntimeError(told)
    assert (session.device_failure(error) is not None) is device
    assert memory.is_allocation_failure(error) is little


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("CUDA failure 209: no kernel image is available for execution on the device", "spare"),
        ("CUDA failure 2: out of memory", "too little memory"),
        ("the graph is broken", "Write the version again"),
    ],
)
def test_a_gpu_that_fails_in_the_warm_up_is_told_from_a_broken_file(
    told, expected, tmp_path, gpu, monkeypatch
):
    run = LoadedModel.logits

    def fail(model, inputs):
        if model.form.provider == "CPUExecutionProvider" and model.recipe.steps == ("gpu",):
            raise RuntimeError(told)
        return run(model, inputs)

    monkeypatch.setattr(LoadedModel, "logits", fail)
    folder = two_forms(tmp_path)
    if expected == "spare":
        assert registry.load(folder, "sentiment").recipe.steps == ("cpu",)
    else:
        with pytest.raises(BadModel, match=expected):
            registry.load(folder, "sentiment")


def test_another_version_as_the_fallback_comes_after_the_form_for_a_cpu(tmp_path, gpu):
    async def scenario():
        one, two = (registry.load(two_forms(tmp_path), "sentiment", number) for number in "24")
        deployment = Deployment(Settings(registry=tmp_path), two, one)
        order = [
            (b.model.manifest.version, b.model.recipe.steps[0]) for b in deployment.stable.backends
        ]
        await deployment.close()
        return order

    assert asyncio.run(scenario()) == [("4", "gpu"), ("4", "cpu"), ("2", "gpu")]


class Failing:
    """A model on a GPU that fails once ``gone`` is set."""

    def __init__(self, model):
        self._model, self.gone = model, False

    def __getattr__(self, name):
        return getattr(self._model, name)

    def logits(self, inputs):
        if self.gone:
            raise RuntimeError("CUDA failure 100: no device")
        return self._model.logits(inputs)


def test_the_form_for_a_cpu_answers_in_batches_of_its_own_when_the_gpu_fails(tmp_path, gpu):
    texts = service.sentences(20)
    sizes = []

    async def scenario():
        loaded = registry.load(two_forms(tmp_path), "sentiment")
        model = Failing(loaded)
        deployment = Deployment(Settings(registry=tmp_path, breaker_failures=1), model)
        backend = deployment.stable.backends[1]
        run = backend.logits
        backend.logits = lambda rows: sizes.append(len(rows) * max(map(len, rows))) or run(rows)
        before = await deployment.stable.predict(texts)
        model.gone = True
        after = await deployment.stable.predict(texts)
        await deployment.close()
        return before, after

    before, after = asyncio.run(scenario())
    assert (before.fallback, after.fallback) == (False, True)
    assert np.allclose(before.probabilities, after.probabilities, atol=1e-5)
    assert len(sizes) > 1
    assert max(sizes) <= 128
