"""The Open Inference Protocol, version 2: what clients of Triton, KServe and MLServer speak.

One input, ``text`` (BYTES, one element a text), and two outputs: ``label`` (BYTES, one a text) and
``probabilities`` (FP32, texts × labels).
Source: the specification "Open Inference Protocol" (kserve/open-inference-protocol).
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response

import tutorial_utils
from tutorial_utils.serving import callers, tensors
from tutorial_utils.serving.deployment import Deployment, UnknownVersion
from tutorial_utils.serving.errors import documented
from tutorial_utils.serving.metrics import Metrics
from tutorial_utils.serving.settings import Settings
from tutorial_utils.serving.tensors import INPUT, LABEL, PROBABILITIES
from tutorial_utils.serving.texts import timing_headers

HEADER_LENGTH = "inference-header-content-length"
Version = Annotated[str, Path(max_length=20)]
Prober = Callable[..., Awaitable[str]]  # asks a version a question; returns which answered


def router(
    deployment: Deployment, metrics: Metrics, settings: Settings, probe: Prober
) -> APIRouter:
    """The routes under ``/v2``."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    failures = documented(400, 404, 408, 413, 415, 422, 429, 500, 503, 504)
    unknown = documented(404)
    body = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": tensors.schema(settings)}},
        }
    }

    def known(model: str, version: str | None = None):
        if model != settings.model:
            raise UnknownVersion(f"no such model is served here; there is: {settings.model}")
        return deployment.find(version)[0].model.manifest

    @routes.get("")
    async def server():
        extensions = ["binary_tensor_data"]
        version = tutorial_utils.__version__
        return {"name": "tutorial-utils", "version": version, "extensions": extensions}

    @routes.get("/health/live")
    async def live():
        return {"live": True}

    @routes.get("/health/ready", responses=documented(429, 500, 503, 504))
    async def ready():
        await probe()
        return {"ready": True}

    @routes.get("/models/{model}", responses=unknown)
    @routes.get("/models/{model}/versions/{version}", responses=unknown)
    async def metadata(model: str, version: Version | None = None):
        manifest = known(model, version)
        return {
            "name": manifest.name,
            "versions": sorted(deployment.roles, key=int),
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
                {
                    "name": PROBABILITIES,
                    "datatype": "FP32",
                    "shape": [-1, len(manifest.labels)],
                    "parameters": {"labels": ",".join(manifest.labels)},
                },
            ],
        }

    @routes.get("/models/{model}/ready", responses=documented(404, 429, 500, 503, 504))
    @routes.get(
        "/models/{model}/versions/{version}/ready", responses=documented(404, 429, 500, 503, 504)
    )
    async def model_ready(model: str, version: Version | None = None):
        manifest = known(model, version)
        await probe(manifest.version)
        return {"name": manifest.name, "version": manifest.version, "ready": True}

    @routes.post(
        "/models/{model}/infer",
        responses=failures,
        response_model=tensors.Inferred,
        openapi_extra=body,
    )
    @routes.post(
        "/models/{model}/versions/{version}/infer",
        responses=failures, response_model=tensors.Inferred, openapi_extra=body,
    )  # fmt: skip
    async def infer(
        request: Request,
        model: str,
        version: Version | None = None,
        x_caller_id: Annotated[str | None, Header(max_length=256)] = None,
    ):
        known(model, version)
        asked, rest = tensors.split(await request.body(), request.headers.get(HEADER_LENGTH))
        texts = tensors.texts(asked.inputs[0], rest, settings)
        work = deployment.predict(texts, x_caller_id, version)
        prediction = await callers.unless_gone(request, work)
        metrics.prediction(prediction)
        headers = timing_headers(prediction)
        content, header_length = tensors.encode(asked, prediction)
        if header_length is None:
            return Response(content, headers=headers, media_type="application/json")
        headers[HEADER_LENGTH] = str(header_length)
        return Response(content, headers=headers, media_type="application/octet-stream")

    return routes
