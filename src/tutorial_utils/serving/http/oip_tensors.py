"""Tensors of the Open Inference Protocol: texts from a request, labels for the answer.

The data of a tensor is part of the JSON or, with the binary tensor data extension, follows it: the
header ``Inference-Header-Content-Length`` says where the JSON ends.
Source: Triton's "Binary tensor data extension".
"""

from io import BytesIO
from typing import Annotated, Literal

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, NonNegativeInt, TypeAdapter, ValidationError

from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.http.errors import Invalid
from tutorial_utils.serving.http.schemas import timing_headers

HEADER_LENGTH = "Inference-Header-Content-Length"
LENGTH = 4  # bytes before each element of binary BYTES: its length, little-endian


class Parameters(BaseModel):
    """The ones we know; others are accepted and ignored."""

    binary_data_size: int | None = Field(None, ge=0)
    binary_data: bool | None = None
    binary_data_output: bool | None = None


class Tensor(BaseModel):
    """Texts: in ``data``, or in the ``binary_data_size`` bytes after the JSON."""

    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[NonNegativeInt]
    data: list[str] | list[list[str]] | None = None
    parameters: Parameters = Parameters()


class Wanted(BaseModel):
    """An output that the caller asks for."""

    name: Literal["label", "probabilities"]
    parameters: Parameters = Parameters()


class Inference(BaseModel):
    """A request: ``id`` is sent back."""

    id: Annotated[str, Field(max_length=256)] = ""
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[Wanted], Field(max_length=2)] = []
    parameters: Parameters = Parameters()


class Output(BaseModel):
    """Answers for all texts. ``data`` is row-major, and absent if it follows the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[str] | list[float] | None = None
    parameters: dict[str, int] | None = None


class Inferred(BaseModel):
    """The answer, and which version gave it."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


def parse(
    content: bytes, json_length: int | None, checks: TypeAdapter[list[str]]
) -> tuple[Inference, list[str]]:
    """The request and its texts.

    json_length: bytes of the JSON in ``content``; None: all. checks: what ``/predict`` demands.

    Raises:
        RequestValidationError: the JSON is not a request; says where.
        Invalid: shape, sizes and data contradict each other, or a text is refused.
    """
    try:
        asked = Inference.model_validate_json(content[:json_length])
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    (tensor,) = asked.inputs
    rest = b"" if json_length is None else content[json_length:]
    found: list[str] | list[bytes]
    if tensor.parameters.binary_data_size is not None:
        if tensor.data is not None or tensor.parameters.binary_data_size != len(rest):
            raise Invalid("binary_data_size must be the bytes after the JSON, without any data")
        found = _elements(rest)
    elif tensor.data is None or rest:
        raise Invalid("send the texts in data, or after the JSON with a binary_data_size")
    else:
        found = [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]
    if tensor.shape not in ([len(found)], [len(found), 1]):
        raise Invalid(f"the shape must be [texts] or [texts, 1]; {len(found)} texts were sent")
    try:
        return asked, checks.validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(["texts", *map(str, first["loc"])])
        raise Invalid(f"{place}: {first['msg']}") from None


def _elements(content: bytes) -> list[bytes]:
    """The texts of a binary BYTES tensor: each follows its length. Pydantic decodes them."""
    found: list[bytes] = []
    stream = BytesIO(content)
    while head := stream.read(LENGTH):
        length = int.from_bytes(head, "little")
        found.append(stream.read(length))
        if len(found[-1]) < length:
            raise Invalid("the binary data ends within an element")
    return found


def answer(asked: Inference, prediction: Prediction) -> Response:
    """The answer: JSON, and after it the outputs that are wanted in binary."""
    manifest = prediction.manifest
    labels = [manifest.labels[best] for best in prediction.probabilities.argmax(axis=1)]
    encoded = [label.encode() for label in labels]
    in_binary = b"".join(len(e).to_bytes(LENGTH, "little") + e for e in encoded)
    rows = prediction.probabilities.astype("<f4")
    tensors = {
        "label": ("BYTES", [len(labels)], labels, in_binary),
        "probabilities": ("FP32", list(rows.shape), rows.ravel().tolist(), rows.tobytes()),
    }
    outputs, after = [], []
    for wanted in asked.outputs or [Wanted(name="label"), Wanted(name="probabilities")]:
        datatype, shape, data, in_bytes = tensors[wanted.name]
        output = Output(name=wanted.name, datatype=datatype, shape=shape)
        binary = wanted.parameters.binary_data
        if asked.parameters.binary_data_output if binary is None else binary:
            after.append(in_bytes)
            output.parameters = {"binary_data_size": len(in_bytes)}
        else:
            output.data = data
        outputs.append(output)
    told = Inferred(
        model_name=manifest.name,
        model_version=manifest.version,
        id=asked.id or None,
        outputs=outputs,
    )
    head = told.model_dump_json(exclude_none=True).encode()
    headers = timing_headers(prediction) | ({HEADER_LENGTH: str(len(head))} if after else {})
    form = "application/octet-stream" if after else "application/json"
    return Response(head + b"".join(after), headers=headers, media_type=form)


def schema(checks: TypeAdapter[list[str]]) -> dict:
    """The request in OpenAPI, for texts in its JSON; as narrow as the checks above."""
    request = Inference.model_json_schema()["properties"]
    known = Tensor.model_json_schema()["properties"]
    fields = {name: known[name] for name in ("name", "datatype", "shape")}
    fields["data"] = checks.json_schema()
    tensor = {"type": "object", "properties": fields, "required": list(fields)}
    example = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A joy from start."]}
    return {
        "type": "object",
        "properties": {"id": request["id"], "inputs": request["inputs"] | {"items": tensor}},
        "required": ["inputs"],
        "example": {"id": "1", "inputs": [example]},
    }
