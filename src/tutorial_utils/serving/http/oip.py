"""The Open Inference Protocol, version 2: what clients of Triton, KServe and MLServer speak.

One input, ``text`` (BYTES, one element a text), and two outputs: ``label`` (BYTES, one a text) and
``probabilities`` (FP32, texts × labels).
Source: the specification "Open Inference Protocol" (kserve/open-inference-protocol).
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from pydantic import TypeAdapter

import tutorial_utils
from tutorial_utils.registry import Manifest
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.http import disconnects, oip_tensors
from tutorial_utils.serving.http.errors import documented
from tutorial_utils.serving.http.schemas import timing_headers
from tutorial_utils.serving.rollout.deployment import Deployment, UnknownVersion

HEADER_LENGTH = "Inference-Header-Content-Length"
Prober = Callable[..., Awaitable[str]]  # asks a version a question; returns which one answered
Caller = Annotated[str | None, Header(max_length=256)]


def router(
    deployment: Deployment, metrics: Metrics, checks: TypeAdapter[list[str]], probe: Prober
) -> APIRouter:
    """The routes under ``/v2``. checks: what ``/predict`` demands of texts."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    unknown, unwell = documented(404), documented(404, 429, 500, 503, 504)
    request_body = {"application/json": {"schema": oip_tensors.schema(checks)}}
    in_binary = {"description": "Answered", "content": {"application/octet-stream": {}}}
    errors = documented(400, 404, 408, 413, 415, 422, 429, 500, 503, 504)
    documents: dict[str, Any] = {
        "response_model": oip_tensors.Inferred,
        "responses": {200: in_binary} | errors,
        "openapi_extra": {"requestBody": {"required": True, "content": request_body}},
    }

    @routes.get("")
    async def server():
        about_us = {"name": "tutorial-utils", "version": tutorial_utils.__version__}
        return about_us | {"extensions": ["binary_tensor_data"]}

    @routes.get("/health/live")
    async def live():
        return {"live": True}

    @routes.get("/health/ready", responses=documented(429, 500, 503, 504))
    async def ready():
        await probe()
        return {"ready": True}

    # Two functions for each pair of routes: with one, the version would be a query parameter of
    # the route that has no version in its path.
    @routes.get("/models/{model}/versions/{version}", responses=unknown)
    async def metadata_of_version(model: str, version: str):
        return describe(known(model, version))

    @routes.get("/models/{model}", responses=unknown)
    async def metadata(model: str):
        return describe(known(model))

    @routes.get("/models/{model}/versions/{version}/ready", responses=unwell)
    async def version_ready(model: str, version: str):
        return await ready_as(known(model, version))

    @routes.get("/models/{model}/ready", responses=unwell)
    async def model_ready(model: str):
        return await ready_as(known(model))

    @routes.post("/models/{model}/versions/{version}/infer", **documents)
    async def infer_by_version(request: Request, model: str, version: str) -> Response:
        known(model, version)
        return await answer(request, None, version)

    @routes.post("/models/{model}/infer", **documents)
    async def infer(request: Request, model: str, x_caller_id: Caller = None) -> Response:
        known(model)
        return await answer(request, x_caller_id, None)

    def known(model: str, version: str | None = None) -> Manifest:
        served = deployment.settings.model
        if model != served:
            raise UnknownVersion(f"no such model is served here; there is: {served}")
        return deployment.find(version)[0].model.manifest

    def describe(manifest: Manifest) -> dict:
        labels = manifest.labels
        in_order = {"parameters": {"labels": ",".join(labels)}}
        return {
            "name": manifest.name,
            "versions": sorted(deployment.roles, key=int),
            "platform": "onnxruntime_onnx",
            "inputs": [tensor("text", "BYTES", -1)],
            "outputs": [
                tensor("label", "BYTES", -1),
                tensor("probabilities", "FP32", -1, len(labels)) | in_order,
            ],
        }

    async def ready_as(manifest: Manifest) -> dict:
        await probe(manifest.version)
        return {"name": manifest.name, "version": manifest.version, "ready": True}

    async def answer(request: Request, caller: str | None, version: str | None) -> Response:
        asked, rest = oip_tensors.split(await request.body(), request.headers.get(HEADER_LENGTH))
        texts = oip_tensors.texts(asked.inputs[0], rest, checks)
        work = deployment.predict(texts, caller, version)
        prediction = await disconnects.unless_gone(request, work)
        metrics.prediction(prediction)
        headers = timing_headers(prediction)
        content, header_length = oip_tensors.encode(asked, prediction)
        if header_length is None:
            return Response(content, headers=headers, media_type="application/json")
        headers[HEADER_LENGTH] = str(header_length)
        return Response(content, headers=headers, media_type="application/octet-stream")

    return routes


def tensor(name: str, datatype: str, *shape: int) -> dict:
    """How the protocol describes a tensor; -1: the number of texts that are sent."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}
