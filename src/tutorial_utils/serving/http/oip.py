"""The Open Inference Protocol, version 2: what clients of Triton, KServe and MLServer speak.

One input, ``text`` (BYTES, one element a text), and two outputs: ``label`` (BYTES, one a text) and
``probabilities`` (FP32, texts × labels).
Source: the specification "Open Inference Protocol" (kserve/open-inference-protocol).
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import TypeAdapter

import tutorial_utils
from tutorial_utils.registry import Manifest
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.http import disconnects, oip_tensors
from tutorial_utils.serving.http.errors import documented
from tutorial_utils.serving.http.schemas import Caller
from tutorial_utils.serving.rollout.deployment import Deployment, UnknownVersion

Prober = Callable[..., Awaitable[str]]  # asks a version a question; returns which one answered
# Not in OpenAPI, which describes requests without binary data only.
JsonLength = Annotated[
    int | None, Header(alias=oip_tensors.HEADER_LENGTH, ge=0, include_in_schema=False)
]


def router(
    deployment: Deployment, metrics: Metrics, checks: TypeAdapter[list[str]], probe: Prober
) -> APIRouter:
    """The routes under ``/v2``. checks: what ``/predict`` demands of texts."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    of_model = APIRouter(responses=documented(404))
    request_body = {"application/json": {"schema": oip_tensors.schema(checks)}}
    in_binary: dict[str, Any] = {
        "description": "Answered",
        "content": {"application/octet-stream": {}},
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

    async def known(request: Request, model: str) -> Manifest:
        served = deployment.settings.model
        if model != served:
            raise UnknownVersion(f"no such model is served here; there is: {served}")
        return deployment.find(request.path_params.get("version")).model.manifest

    asked_for = Annotated[Manifest, Depends(known)]

    @of_model.get("")
    async def metadata(manifest: asked_for):
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

    @of_model.get("/ready", responses=documented(429, 500, 503, 504))
    async def model_ready(manifest: asked_for):
        await probe(manifest.version)
        return {"name": manifest.name, "version": manifest.version, "ready": True}

    @of_model.post(
        "/infer",
        dependencies=[Depends(known)],
        response_model=oip_tensors.Inferred,
        responses={200: in_binary, **documented(400, 408, 413, 415, 422, 429, 500, 503, 504)},
        openapi_extra={"requestBody": {"required": True, "content": request_body}},
    )
    async def infer(
        request: Request, json_length: JsonLength = None, x_caller_id: Caller = None
    ) -> Response:
        asked, texts = oip_tensors.parse(await request.body(), json_length, checks)
        work = deployment.predict(texts, x_caller_id, request.path_params.get("version"))
        prediction = await disconnects.unless_gone(request, work)
        metrics.prediction(prediction)
        return oip_tensors.answer(asked, prediction)

    async def in_path(version: str) -> None:
        """Describe the version in OpenAPI; in ``known`` it would be a query parameter too."""

    routes.include_router(of_model, prefix="/models/{model}")
    by_version = [Depends(in_path)]
    routes.include_router(
        of_model, prefix="/models/{model}/versions/{version}", dependencies=by_version
    )
    return routes


def tensor(name: str, datatype: str, *shape: int) -> dict:
    """How the protocol describes a tensor; -1: the number of texts that are sent."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}
