"""Tensors of the Open Inference Protocol: texts out of a request, labels into an answer.

Tensors lie in the JSON or, with the binary tensor data extension, behind it: the header
``Inference-Header-Content-Length`` says where the JSON ends.
Source: Triton's "Binary tensor data extension".
"""

import json
import struct
from typing import Annotated, Literal

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from tutorial_utils.serving.engine.engine import Prediction
from tutorial_utils.serving.http.errors import Invalid
from tutorial_utils.serving.http.schemas import readable
from tutorial_utils.serving.settings import Settings

INPUT, LABEL, PROBABILITIES = "text", "label", "probabilities"
MOST = 1_000_000  # in a shape; any more is no batch
Size = Annotated[int, Field(ge=0, le=MOST)]


class Parameters(BaseModel):
    """Those that are understood; others are taken and have no effect."""

    binary_data_size: int | None = Field(None, ge=0)
    binary_data: bool | None = None
    binary_data_output: bool | None = None


class Tensor(BaseModel):
    """Texts: in ``data``, or ``binary_data_size`` bytes behind the JSON."""

    name: Literal[INPUT]
    datatype: Literal["BYTES"]
    shape: Annotated[list[Size], Field(min_length=1, max_length=2)]
    data: list[str] | list[list[str]] | None = None
    parameters: Parameters = Parameters()


class Wanted(BaseModel):
    """An output that is asked for."""

    name: Literal[LABEL, PROBABILITIES]
    parameters: Parameters = Parameters()


class Inference(BaseModel):
    """A request: ``id`` is sent back."""

    id: Annotated[str, Field(max_length=256)] = ""
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[Wanted], Field(max_length=2)] = []
    parameters: Parameters = Parameters()


class Output(BaseModel):
    """Answers for all texts; ``data``: row-major, absent when it lies behind the JSON."""

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
    """The request, and the bytes behind its JSON."""
    end = len(content)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 9 or int(header_length) > end:
            raise Invalid("Inference-Header-Content-Length must be the number of bytes of the JSON")
        end = int(header_length)
    try:
        return Inference.model_validate_json(content[:end]), content[end:]
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        placed = [e | {"loc": ("body", *e["loc"])} for e in found]
        raise RequestValidationError(placed) from None


def texts(tensor: Tensor, rest: bytes, settings: Settings) -> list[str]:
    """The texts of a tensor, checked as those of ``/predict`` are."""
    size = tensor.parameters.binary_data_size
    if size is not None:
        if tensor.data is not None or size != len(rest):
            raise Invalid("binary_data_size must be the bytes behind the JSON, and data be absent")
        found = _elements(rest)
    elif tensor.data is None or rest:
        raise Invalid("the texts belong in data, or behind the JSON with a binary_data_size")
    else:
        found = [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        raise Invalid("the shape must be [texts] or [texts, 1]")
    if tensor.shape[0] != len(found):
        raise Invalid(f"the shape speaks of {tensor.shape[0]} texts, and {len(found)} are there")
    if not 1 <= len(found) <= settings.max_texts:
        raise Invalid(f"send 1 to {settings.max_texts} texts")
    for i, text in enumerate(found):
        if len(text) > settings.max_characters:
            raise Invalid(f"text {i} is longer than {settings.max_characters:,} characters")
        try:
            readable(text)
        except ValueError as error:
            raise Invalid(f"text {i}: {error}") from None
    return found


def _elements(content: bytes) -> list[str]:
    """BYTES in binary form: before each element its length, four bytes little-endian."""
    texts, position = [], 0
    while position < len(content):
        if position + 4 > len(content):
            raise Invalid("the binary data ends within the length of an element")
        (length,) = struct.unpack_from("<I", content, position)
        position += 4
        if position + length > len(content):
            raise Invalid("the binary data ends within an element")
        try:
            texts.append(content[position : position + length].decode())
        except UnicodeDecodeError:
            raise Invalid(f"text {len(texts)} is not UTF-8") from None
        position += length
    return texts


def encode(asked: Inference, prediction: Prediction) -> tuple[bytes, int | None]:
    """The answer's bytes, and the length of the JSON before binary data, or None without any."""
    manifest = prediction.manifest
    best = prediction.probabilities.argmax(axis=1)
    arrays = {
        LABEL: np.array(manifest.labels)[best],
        PROBABILITIES: prediction.probabilities.astype(np.float32),
    }
    outputs, behind = [], []
    for wanted in asked.outputs or [Wanted(name=LABEL), Wanted(name=PROBABILITIES)]:
        array = arrays[wanted.name]
        binary = wanted.parameters.binary_data
        if binary is None:
            binary = bool(asked.parameters.binary_data_output)
        output = {
            "name": wanted.name,
            "datatype": "BYTES" if wanted.name == LABEL else "FP32",
            "shape": list(array.shape),
        }
        if binary:
            behind.append(_binary(array))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    answer = {
        "model_name": manifest.name,
        "model_version": manifest.version,
        "outputs": outputs,
    }
    if asked.id:
        answer["id"] = asked.id
    head = json.dumps(answer).encode()
    return head + b"".join(behind), len(head) if behind else None


def _binary(array: np.ndarray) -> bytes:
    if array.dtype.kind != "U":
        return array.astype("<f4").tobytes()
    return b"".join(
        struct.pack("<I", len(element)) + element for element in map(str.encode, array.tolist())
    )


def schema(settings: Settings) -> dict:
    """The request in OpenAPI, as narrow as the checks above, for texts in the JSON."""
    text = {"type": "string", "pattern": r"\S", "maxLength": settings.max_characters}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": 256},
            "inputs": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {
                    "type": "object",
                    "required": ["name", "datatype", "shape", "data"],
                    "properties": {
                        "name": {"const": INPUT},
                        "datatype": {"const": "BYTES"},
                        "shape": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 2,
                            "items": {"type": "integer", "minimum": 0, "maximum": MOST},
                        },
                        "data": {
                            "type": "array",
                            "items": text,
                            "minItems": 1,
                            "maxItems": settings.max_texts,
                        },
                    },
                },
            },
        },
        "example": {
            "id": "1",
            "inputs": [
                {"name": INPUT, "datatype": "BYTES", "shape": [1], "data": ["A joy from start."]}
            ],
        },
    }
