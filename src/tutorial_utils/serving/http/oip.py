"""The Open Inference Protocol, version 2, which clients of Triton, KServe and MLServer speak.

One input, ``text`` (BYTES, one element per text, two per pair), and the outputs of the task:
``label`` (BYTES, one per text) and ``probabilities`` (FP32, texts × labels), or others. Tensors are
JSON; Triton's extension for binary tensors would gain nothing for texts.
Source: the specification "Open Inference Protocol" (kserve/open-inference-protocol).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, NonNegativeInt, ValidationInfo

import tutorial_utils
from tutorial_utils.registry import LoadedModel
from tutorial_utils.serving.engine.metrics import Metrics
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.http import disconnects
from tutorial_utils.serving.http.errors import documented
from tutorial_utils.serving.http.schemas import Caller, timing_headers
from tutorial_utils.serving.rollout.deployment import Deployment, UnknownVersion
from tutorial_utils.tasks import named

MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"
Prober = Callable[..., Awaitable[str]]  # asks a version a question; returns which one answered
Texts = TypeVar("Texts")  # a list of texts with the limits of the settings


def _in_pairs(data: Any, info: ValidationInfo) -> Any:
    """Texts; as pairs where the shape is [pairs, 2]. A client may send the rows as lists.

    Raises:
        ValueError: the rows are not of the shape, so that texts could be paired wrongly.
    """
    shape = info.data.get("shape", [])
    if isinstance(data, list) and all(isinstance(row, list) for row in data):
        if any(shape[1:] != [len(row)] for row in data):
            raise ValueError("its rows are not as long as the shape says")
        data = list(chain.from_iterable(data))
    if isinstance(data, list) and len(shape) == 2 and shape[1] == 2 and len(data) == 2 * shape[0]:
        return [list(pair) for pair in zip(data[::2], data[1::2], strict=True)]
    return data


class Tensor(BaseModel, Generic[Texts]):
    """The texts, or pairs of them."""

    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[NonNegativeInt]
    data: Annotated[Texts, BeforeValidator(_in_pairs)]


class Wanted(BaseModel):
    """An output that the caller asks for."""

    name: Annotated[str, Field(max_length=256)]


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
    """The answer, and which version gave it.

    parameters: ``truncated`` has the positions of texts that were cut, as ``0,2``, if any were.
    """

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str] | None = None
    outputs: list[Output]


def outputs(model: LoadedModel) -> dict[str, np.ndarray]:
    """The outputs of a version by name, as for one text."""
    task, none = named(model.manifest.task), np.zeros((1, model.width), np.float32)
    return dict(task.tensors(none, model.manifest.labels))


def answer(asked: Inference, prediction: Prediction) -> Inferred:
    """The outputs that are asked for, or all."""
    manifest = prediction.manifest
    found = named(manifest.task).tensors(prediction.probabilities, manifest.labels)
    cut = prediction.truncated
    wanted = {w.name for w in asked.outputs} or found.keys()
    return Inferred(
        model_name=manifest.name,
        model_version=manifest.version,
        id=asked.id or None,
        parameters={"truncated": ",".join(map(str, cut))} if cut else None,
        outputs=[_output(name, array) for name, array in found.items() if name in wanted],
    )


def _output(name: str, array: np.ndarray) -> Output:
    shape, data = list(array.shape), array.ravel().tolist()
    return Output(name=name, datatype=_datatype(array), shape=shape, data=data)


def _datatype(array: np.ndarray) -> str:
    return "BYTES" if array.dtype.kind == "U" else "FP32"


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

    async def known(request: Request, model: str) -> LoadedModel:
        served = deployment.model
        if model != served:
            raise UnknownVersion(f"no such model is served here; this one is: {served}")
        return deployment.find(request.path_params.get("version")).model

    asked_for = Annotated[LoadedModel, Depends(known)]

    async def metadata(model: asked_for):
        manifest = model.manifest
        in_order = {"parameters": {"labels": ",".join(manifest.labels)}} if manifest.labels else {}
        return {
            "name": manifest.name,
            "versions": sorted(deployment.roles, key=int),
            "platform": "onnxruntime_onnx",
            "inputs": [tensor("text", "BYTES", -1, *([2] if manifest.reads == "pair" else []))],
            "outputs": [
                tensor(name, _datatype(array), -1, *array.shape[1:])
                | (in_order if array.ndim > 1 else {})
                for name, array in outputs(model).items()
            ],
        }

    async def model_ready(model: asked_for):
        manifest = model.manifest
        await probe(manifest.version)
        return {"name": manifest.name, "version": manifest.version, "ready": True}

    async def infer(
        asked: request_type,  # type: ignore[valid-type]  # it depends on the settings
        request: Request,
        x_caller_id: Caller = None,
    ) -> Response:
        (given,) = asked.inputs  # type: ignore[attr-defined]
        count = len(given.data)
        pairs = any(isinstance(text, tuple) for text in given.data)
        if given.shape not in ([[count, 2]] if pairs else [[count], [count, 1]]):
            told = f"the shape must be [texts], [texts, 1] or [pairs, 2]; {count} were sent"
            raise HTTPException(400, told)
        version = request.path_params.get("version")
        there = outputs(deployment.find(version).model)
        if not there.keys() >= {w.name for w in asked.outputs}:  # type: ignore[attr-defined]
            raise HTTPException(422, f"outputs: the model has only {', '.join(there)}")
        work = deployment.predict(given.data, x_caller_id, version)
        prediction = await disconnects.unless_gone(request, work)
        metrics.prediction(prediction)
        content = answer(asked, prediction).model_dump_json(exclude_none=True)
        headers = timing_headers(prediction)
        return Response(content, headers=headers, media_type="application/json")

    async def in_path(version: str) -> None:
        """Describe the version in OpenAPI; in ``known`` it would be a query parameter too."""

    problems = documented(400, 404, 408, 409, 413, 415, 422, 429, 500, 503, 504)
    for path, asks in ((MODEL, [Depends(known)]), (VERSION, [Depends(known), Depends(in_path)])):
        add = partial(routes.add_api_route, dependencies=asks)
        add(path, metadata, responses=documented(404))
        add(f"{path}/ready", model_ready, responses=documented(404, 429, 500, 503, 504))
        add(f"{path}/infer", infer, methods=["POST"], response_model=Inferred, responses=problems)
    return routes


def tensor(name: str, datatype: str, *shape: int) -> dict:
    """How the protocol describes a tensor; -1: the number of texts that are sent."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}
