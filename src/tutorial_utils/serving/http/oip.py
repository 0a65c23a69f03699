"""The Open Inference Protocol, version 2: what clients of Triton, KServe and MLServer speak.

One input, ``text`` (BYTES, one element a text), and two outputs: ``label`` (BYTES, one a text) and
``probabilities`` (FP32, texts × labels). Tensors are JSON; Triton's extension for binary tensors
would gain nothing for texts.
Source: the specification "Open Inference Protocol" (kserve/open-inference-protocol).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, NonNegativeInt

import tutorial_utils
from tutorial_utils.registry import Manifest
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.http import disconnects
from tutorial_utils.serving.http.errors import documented
from tutorial_utils.serving.http.schemas import Caller, timing_headers
from tutorial_utils.serving.rollout.deployment import Deployment, UnknownVersion

MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"
Prober = Callable[..., Awaitable[str]]  # asks a version a question; returns which one answered
Texts = TypeVar("Texts")  # a list of texts with the limits of the settings


def _flat(data: Any) -> Any:
    """The protocol lets a client send the rows of a tensor as lists."""
    nested = isinstance(data, list) and all(isinstance(row, list) for row in data)
    return list(chain.from_iterable(data)) if nested else data


class Tensor(BaseModel, Generic[Texts]):
    """The texts."""

    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[NonNegativeInt]
    data: Annotated[Texts, BeforeValidator(_flat)]


class Wanted(BaseModel):
    """An output that the caller asks for."""

    name: Literal["label", "probabilities"]


class Inference(BaseModel, Generic[Texts]):
    """A request: ``id`` is sent back."""

    id: Annotated[str, Field(max_length=256)] = ""
    inputs: Annotated[list[Tensor[Texts]], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[Wanted], Field(max_length=2)] = []


class Output(BaseModel):
    """Answers for all texts, row-major."""

    name: str
    datatype: str
    shape: list[int]
    data: list[str] | list[float]


class Inferred(BaseModel):
    """The answer, and which version gave it."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


def answer(asked: Inference, prediction: Prediction) -> Inferred:
    """The outputs that are asked for, or both."""
    manifest, rows = prediction.manifest, prediction.probabilities
    labels = [manifest.labels[best] for best in rows.argmax(axis=1)]
    found = {
        "label": Output(name="label", datatype="BYTES", shape=[len(labels)], data=labels),
        "probabilities": Output(
            name="probabilities", datatype="FP32", shape=[*rows.shape], data=rows.ravel().tolist()
        ),
    }
    return Inferred(
        model_name=manifest.name,
        model_version=manifest.version,
        id=asked.id or None,
        outputs=[found[w.name] for w in asked.outputs] or [*found.values()],
    )


def router(
    deployment: Deployment, metrics: Metrics, request_type: type[Inference], probe: Prober
) -> APIRouter:
    """The routes under ``/v2``. request_type: with what ``/predict`` demands of texts."""
    # Triton's client names no content type.
    routes = APIRouter(tags=["Open Inference Protocol"], strict_content_type=False)

    @routes.get("/v2")
    async def server():
        about_us = {"name": "tutorial-utils", "version": tutorial_utils.__version__}
        return about_us | {"extensions": []}

    @routes.get("/v2/health/live")
    async def live():
        return {"live": True}

    @routes.get("/v2/health/ready", responses=documented(429, 500, 503, 504))
    async def ready():
        await probe()
        return {"ready": True}

    async def known(request: Request, model: str) -> Manifest:
        served = deployment.settings.model
        if model != served:
            raise UnknownVersion(f"no such model is served here; there is: {served}")
        return deployment.find(request.path_params.get("version")).model.manifest

    asked_for = Annotated[Manifest, Depends(known)]

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

    async def model_ready(manifest: asked_for):
        await probe(manifest.version)
        return {"name": manifest.name, "version": manifest.version, "ready": True}

    async def infer(
        asked: request_type,  # type: ignore[valid-type]  # it depends on the settings
        request: Request,
        x_caller_id: Caller = None,
    ) -> Response:
        (given,) = asked.inputs  # type: ignore[attr-defined]
        count = len(given.data)
        if given.shape not in ([count], [count, 1]):
            told = f"the shape must be [texts] or [texts, 1]; {count} texts were sent"
            raise HTTPException(400, told)
        work = deployment.predict(given.data, x_caller_id, request.path_params.get("version"))
        prediction = await disconnects.unless_gone(request, work)
        metrics.prediction(prediction)
        content = answer(asked, prediction).model_dump_json(exclude_none=True)
        headers = timing_headers(prediction)
        return Response(content, headers=headers, media_type="application/json")

    async def in_path(version: str) -> None:
        """Describe the version in OpenAPI; in ``known`` it would be a query parameter too."""

    problems = documented(400, 404, 408, 413, 415, 422, 429, 500, 503, 504)
    for path, asks in ((MODEL, [Depends(known)]), (VERSION, [Depends(known), Depends(in_path)])):
        add = partial(routes.add_api_route, dependencies=asks)
        add(path, metadata, responses=documented(404))
        add(f"{path}/ready", model_ready, responses=documented(404, 429, 500, 503, 504))
        add(f"{path}/infer", infer, methods=["POST"], response_model=Inferred, responses=problems)
    return routes


def tensor(name: str, datatype: str, *shape: int) -> dict:
    """How the protocol describes a tensor; -1: the number of texts that are sent."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}
