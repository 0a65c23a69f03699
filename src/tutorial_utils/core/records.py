"""Frozen dataclasses written as JSON, and read back with their types."""

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def dumps(record: Any) -> str:
    """A dataclass as indented JSON. Fields hold numbers, strings, ``None``, tuples, mappings with
    string keys, or other such dataclasses.
    """
    return json.dumps(asdict(record), indent=2)


def loads(kind: type[T], text: str) -> T:
    """The dataclass that ``dumps`` was given; raises as ``typed`` does."""
    return typed(kind, json.loads(text))


def typed(kind: Any, value: Any) -> Any:
    """What JSON holds, as ``kind``: a dataclass, or what one may hold. Paths are strings in JSON.

    Raises:
        ValueError, TypeError, AttributeError: ``value`` is not the JSON of such an object.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: typed(hints.get(name), item) for name, item in value.items()})
    if origin in (Union, types.UnionType):  # of one type and None
        return None if value is None else typed(inner[0], value)
    if origin is tuple:
        each = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(typed(k, item) for k, item in zip(each, value, strict=True))
    if origin in (dict, Mapping):
        return {key: typed(inner[1], item) for key, item in value.items()}
    return Path(value) if kind is Path else value
