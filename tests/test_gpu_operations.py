"""What operators see of a version for a GPU: which form answers, and why the other one does not.

The GPU is the CPU here, under the name of CUDA's provider.
"""

import asyncio
import mmap
from collections import Counter
from pathlib import Path

import onnxruntime
import pytest
import service
from prometheus_client.parser import text_string_to_metric_families
from test_gpu_versions import Failing, gpu, two_forms  # noqa: F401

from tutorial_utils import registry
from tutorial_utils.runtime.session import PROVIDERS, provider_problem
from tutorial_utils.serving.engine import backend
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.http import app
from tutorial_utils.serving.rollout.deployment import Deployment
from tutorial_utils.serving.settings import Settings

ON_CPU = {"version": "2", "provider": "CPUExecutionProvider", "precision": "fp32"}
ON_GPU = {"version": "2", "provider": "CUDAExecutionProvider", "precision": "fp16"}
NAMED = " ; GPU=0 ; hostname=db7 ; file=cuda_call.cc ; line=129 ; expr=cudaStreamSynchronize(); "
LOST = f"Non-zero status. CUDA failure 700: an illegal memory access was encountered{NAMED}a text"


@pytest.fixture
def model(tmp_path, request, monkeypatch):
    """A version in its form for a GPU, which fails once ``gone`` is set."""
    request.getfixturevalue("gpu")
    loaded = registry.load(two_forms(tmp_path), "sentiment")
    monkeypatch.setitem(PROVIDERS, "cuda", "CUDAExecutionProvider")  # opened; its real name again
    return Failing(loaded)


def samples(metrics: str, name: str) -> dict[tuple, float]:
    """A metric's values by its labels' (in the order of their names); no series is there twice."""
    families = text_string_to_metric_families(metrics)
    found = [s for f in families for s in f.samples if name in ("", s.name)]
    series = Counter((s.name, *sorted(s.labels.items())) for s in found)
    assert [each for each, count in series.items() if count > 1] == []
    return {tuple(value for _, value in sorted(s.labels.items())): s.value for s in found}


def scenario(model, *steps):
    """Run steps on a deployment of the model, whose breaker opens at once; return its metrics."""

    async def run():
        metrics = Metrics()
        settings = Settings(registry=".", breaker_failures=1, breaker_cooldown=60)
        deployment = Deployment(settings, model, metrics=metrics)
        for step in steps:
            step()
            await deployment.stable.predict(["good"])
        shown = metrics.text().decode()
        await deployment.close()
        return shown

    return asyncio.run(run())


def test_each_breaker_has_a_series_and_the_metrics_say_which_form_is_open_and_which_answers(model):
    for gone, states in ((False, (0, 0)), (True, (2, 0))):
        shown = scenario(model, lambda gone=gone: setattr(model, "gone", gone))
        samples(shown, "")
        assert samples(shown, "serve_breaker_state") == {
            ("2", "sentiment", "CUDAExecutionProvider", "2"): states[0],
            ("2", "sentiment", "CPUExecutionProvider", "2"): states[1],
        }
        opened = {("sentiment", "fp16", "CUDAExecutionProvider", "2"): 1}
        assert samples(shown, "serve_model_info") == opened
        assert samples(shown, "serve_on_cpu") == {("sentiment", "2"): gone}


@pytest.mark.parametrize(("provider", "batches"), [("cuda", 1), ("cpu", 2)])
def test_texts_of_unlike_lengths_share_a_batch_where_a_run_costs_more_than_padding(
    model, tmp_path, provider, batches
):
    model = model if provider == "cuda" else registry.load(tmp_path, "sentiment", "1")

    async def run():
        metrics = Metrics()
        deployment = Deployment(Settings(registry="."), model, metrics=metrics)
        await deployment.stable.predict(["good", "good " * 40])
        await deployment.close()  # a batch is counted after its callers have their answers
        return metrics.text().decode()

    assert list(samples(asyncio.run(run()), "serve_batch_texts_count").values()) == [batches]


@pytest.mark.skipif(provider_problem("cuda") is None, reason="there is a GPU")
def test_a_version_for_a_gpu_that_started_on_a_cpu_shows(tmp_path):
    two_forms(tmp_path)  # version 1 was made for a CPU, version 2 for a GPU
    for version, precision, on_cpu in (("1", "fp32", 0), ("2", "fp32", 1)):
        shown = scenario(registry.load(tmp_path, "sentiment", version))
        opened = {("sentiment", precision, "CPUExecutionProvider", version): 1}
        assert samples(shown, "serve_model_info") == opened
        assert samples(shown, "serve_on_cpu") == {("sentiment", version): on_cpu}


def test_info_says_which_form_answers_now_and_openapi_describes_it(model, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda *given, **limits: model)
    settings = Settings(registry=tmp_path, breaker_failures=1, breaker_cooldown=60, watch=0)
    application = app.create(settings)
    with service.running(settings, application) as client:
        told = client.get("/info").json()
        assert told["answering"] == ON_GPU
        assert (told["provider"], told["precision"]) == ("CUDAExecutionProvider", "fp16")
        model.gone = True
        answer = client.post("/predict", json={"texts": ["good"]}).json()
        assert (answer["version"], answer["fallback"]) == ("2", True)
        after = client.get("/info").json()
        assert after == told | {"answering": ON_CPU}
        for each in application.deployment.stable.backends:
            each.breaker.trip()
        assert client.get("/info").json()["answering"] is None
        described = client.get("/openapi.json").json()
    content = described["paths"]["/info"]["get"]["responses"]["200"]["content"]
    name = content["application/json"]["schema"]["$ref"].rsplit("/")[-1]
    assert set(described["components"]["schemas"][name]["required"]) == set(told)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (LOST, " (CUDA failure 700: an illegal memory access was encountered)"),
        (f"CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED{NAMED}",
         " (CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED)"),
        (f"CUDA failure 100: no CUDA-capable device is detected{NAMED}",
         " (CUDA failure 100: no CUDA-capable device is detected)"),
        ("cannot read 'CUDA failure 2: my diary'", " (CUDA failure 2)"),
        ("my diary of a failure 7: none", ""),
    ],
)  # fmt: skip
def test_the_log_names_a_failure_of_cuda_and_repeats_nothing_else(message, told):
    assert backend.kind(RuntimeError(message)) == f"RuntimeError{told}"


def test_a_lost_gpu_is_logged_with_its_error_and_without_the_rest_of_the_message(
    model, monkeypatch, caplog
):
    def logits(inputs):
        raise RuntimeError(LOST)

    monkeypatch.setattr(model, "logits", logits, raising=False)
    scenario(model, lambda: None)
    reason = "RuntimeError (CUDA failure 700: an illegal memory access was encountered)"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"inference failed: {reason}", f"the model is not well: {reason}"]


def test_onnx_runtime_writes_failures_of_cuda_as_the_log_expects_them():
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.exists():
        pytest.skip("this build of ONNX Runtime has no CUDA provider")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        assert code.find(b"\0%s failure %d: %s ; GPU=%d ; hostname=%s ;") >= 0
