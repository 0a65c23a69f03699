"""Tensors of the Open Inference Protocol: texts from a request, labels for the answer.

The data of a tensor is part of the JSON or, with the binary tensor data extension, follows it: the
header ``Inference-Header-Content-Length`` says where the JSON ends.
Source: Triton's "Binary tensor data extension".
"""

from typing import Annotated, Literal

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.http.errors import Invalid

Size = Annotated[int, Field(ge=0, le=1_000_000)]  # more texts than that are a mistake
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
    shape: Annotated[list[Size], Field(min_length=1, max_length=2)]
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


def split(content: bytes, header_length: str | None) -> tuple[Inference, bytes]:
    """The request, and the bytes after its JSON.

    Raises:
        Invalid: ``header_length`` is not a length within ``content``.
        RequestValidationError: the JSON is not a request; says where.
    """
    end = len(content)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 9 or int(header_length) > end:
            raise Invalid("Inference-Header-Content-Length must be the number of bytes of the JSON")
        end = int(header_length)
    try:
        return Inference.model_validate_json(content[:end]), content[end:]
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in found]) from None


def texts(tensor: Tensor, rest: bytes, checks: TypeAdapter[list[str]]) -> list[str]:
    """The texts of a tensor.

    rest: the bytes after the JSON. checks: what ``/predict`` demands of texts.

    Raises:
        Invalid: shape, sizes and data contradict each other, or a text is refused.
    """
    size = tensor.parameters.binary_data_size
    if size is not None:
        if tensor.data is not None or size != len(rest):
            raise Invalid("binary_data_size must be the bytes after the JSON, without any data")
        found = _elements(rest)
    elif tensor.data is None or rest:
        raise Invalid("send the texts in data, or after the JSON with a binary_data_size")
    else:
        found = [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]
    if tensor.shape[1:] not in ([], [1]):
        raise Invalid("the shape must be [texts] or [texts, 1]")
    if tensor.shape[0] != len(found):
        raise Invalid(f"the shape says {tensor.shape[0]} texts, but {len(found)} were sent")
    try:
        return checks.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = " ".join(["texts", *map(str, first["loc"])])
        raise Invalid(f"{place}: {first['msg']}") from None


def _elements(content: bytes) -> list[str]:
    """The texts of a binary BYTES tensor."""
    found: list[str] = []
    end = 0
    while end < len(content):
        start = end + LENGTH
        end = start + int.from_bytes(content[end:start], "little")
        if end > len(content):
            raise Invalid("the binary data ends within an element")
        try:
            found.append(content[start:end].decode())
        except UnicodeDecodeError:
            raise Invalid(f"text {len(found)} is not UTF-8") from None
    return found


def encode(asked: Inference, prediction: Prediction) -> tuple[bytes, int | None]:
    """The answer's bytes, and the length of its JSON, or None if no binary data follows."""
    manifest = prediction.manifest
    best = prediction.probabilities.argmax(axis=1)
    arrays = {
        "label": np.array(manifest.labels, object)[best],
        "probabilities": prediction.probabilities.astype("<f4"),
    }
    outputs, behind = [], []
    for wanted in asked.outputs or [Wanted(name="label"), Wanted(name="probabilities")]:
        array = arrays[wanted.name]
        datatype = "FP32" if array.dtype == np.float32 else "BYTES"
        output = Output(name=wanted.name, datatype=datatype, shape=list(array.shape))
        binary = wanted.parameters.binary_data
        if asked.parameters.binary_data_output if binary is None else binary:
            behind.append(_binary(array))
            output.parameters = {"binary_data_size": len(behind[-1])}
        else:
            output.data = array.ravel().tolist()
        outputs.append(output)
    answer = Inferred(
        model_name=manifest.name,
        model_version=manifest.version,
        id=asked.id or None,
        outputs=outputs,
    )
    head = answer.model_dump_json(exclude_none=True).encode()
    return head + b"".join(behind), len(head) if behind else None


def _binary(array: np.ndarray) -> bytes:
    if array.dtype == np.float32:
        return array.tobytes()
    elements = [text.encode() for text in array]
    return b"".join(len(e).to_bytes(LENGTH, "little") + e for e in elements)


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
