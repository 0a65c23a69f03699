"""Comparisons that ``make search`` and ``make peers`` stored, for lessons that look at them."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tutorial_utils.bench.timer import Comparison, Timing
from tutorial_utils.core import records
from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.lessons import claims


def search(section: str) -> Comparison:
    """A section of the runtime search: the one whose title begins with ``section``.

    Raises:
        InvalidArgument: none does, or more than one.
    """
    sections = _read("runtime")
    found = [title for title in sections if title.startswith(section)]
    if len(found) != 1:
        raise InvalidArgument(f"{section!r} begins {len(found)} titles of {list(sections)}.")
    return _comparison(sections[found[0]])


def peers(table: str) -> Comparison:
    """Other tools beside ours: at a ``1 × 24`` of BERT-base, or ``own`` batching, or ``ours``."""
    stored = _read("peers")
    tables = stored["shapes"]["comparisons"] | stored["texts"]["comparisons"]
    if table not in tables:
        raise InvalidArgument(f"There is no table {table!r}, only {', '.join(tables)}.")
    return _comparison(tables[table])


def _read(name: str) -> dict[str, Any]:
    """A file of the machine that the claims were tested on."""
    file = claims.default_file().with_name(f"{name}.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _comparison(stored: Mapping[str, Any]) -> Comparison:
    """Without what other versions of the package stored beside it."""
    known = {field.name for field in fields(Timing)}
    timings = {
        name: {key: value for key, value in timing.items() if key in known}
        for name, timing in stored["timings"].items()
    }
    kept = {field.name: stored[field.name] for field in fields(Comparison)}
    made: Comparison = records.typed(Comparison, kept | {"timings": timings})
    return made
