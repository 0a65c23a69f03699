"""ONNX external data: which other files a model reads, found without the onnx package.

Weights can lie outside the model file (``TensorProto.external_data``), at a path that the file
names: a model can ask for any file of the machine. An ONNX file is a protobuf message, and walking
it needs only its field numbers (onnx.proto3 of the ONNX project, IR version 13): each
length-delimited field is either entered or skipped, so a large file takes milliseconds.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

# message → field number → the message in that field; every path from a model to a tensor
_FIELDS = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_DEEPEST = 200  # nested messages; no real model has more


def locations(path: Path) -> set[str]:
    """The ``location`` of each tensor that is stored outside the file, as the file has it.

    Raises:
        ValueError: the file is not a protobuf message: it is truncated, empty, or another format.
    """
    with Path(path).open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return set(_locations(mapped, 0, len(mapped), "ModelProto"))
        except (IndexError, UnicodeDecodeError) as error:
            raise ValueError("not an ONNX file") from error


def _locations(data, start: int, end: int, message: str, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("its messages are nested too deeply")
    if message == "StringStringEntryProto":
        pair = {number: data[a:b] for number, a, b in _fields(data, start, end)}
        if pair.get(1) == b"location":
            yield pair.get(2, b"").decode()
        return
    inside = _FIELDS[message]
    for number, a, b in _fields(data, start, end):
        if number in inside:
            yield from _locations(data, a, b, inside[number], depth + 1)


def _fields(data, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end) of each length-delimited field between two positions."""
    while position < end:
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _LENGTH:
            length, position = _varint(data, position)
            if position + length > end:
                raise ValueError("the file ends too early")
            yield key >> 3, position, position + length
            position += length
        elif kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("not an ONNX file")
    if position > end:
        raise ValueError("the file ends too early")


def _varint(data, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("not an ONNX file")
