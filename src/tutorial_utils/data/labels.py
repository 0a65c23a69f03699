"""What the labels of a file mean. All are read in one way: as names, numbers, or by a map."""

import json
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutorial_utils.data.tables import BadData
from tutorial_utils.tasks import Task
from tutorial_utils.tasks.task import Known, find, word

Reading = tuple[str, Known]  # how it is told, and what each word of the file means
BY_NAME, BY_NUMBER, BY_MAP, AS_VALUES = "by name", "by number", "by --label-map", "as values"

_MAP = 'Give neg=0,pos=1, or a JSON file with {"neg": 0, "pos": 1}, which may hold any words.'


class Unreadable(str):
    """Why a label cannot be read."""


def parse_map(text: str) -> dict[str, str]:
    """``neg=0,pos=1``, or the name of a JSON file with an object: word of the file → label.

    Raises:
        BadData: it is neither, or a word occurs twice.
    """
    try:
        if text.endswith(".json"):
            pairs = json.loads(Path(text).read_bytes(), object_pairs_hook=tuple)
            if not isinstance(pairs, tuple):
                raise ValueError("it does not hold an object")
        else:
            pairs = tuple(part.rsplit("=", 1) for part in text.split(","))
            if wrong := [pair[0] for pair in pairs if len(pair) < 2]:
                raise ValueError(f"{wrong[0]!r} has no =")
        found = {word(key): word(value) for key, value in pairs}
    except (OSError, TypeError, ValueError) as error:
        raise BadData(f"--label-map {text}: {error}. {_MAP}") from None
    if len(found) < len(pairs) or "" in found or "" in found.values():
        raise BadData(f"--label-map {text}: a word is empty or appears twice. {_MAP}")
    return found


def readings(names: Sequence[str], task: Task, label_map: Mapping | None) -> list[Reading]:
    """The ways in which a file's labels can be read.

    Raises:
        BadData: a value of ``label_map`` is not a label.
    """
    if not task.labels_are_names:
        if not label_map:
            return [(AS_VALUES, {})]
        try:
            return [(BY_MAP, _words({k: float(v) for k, v in label_map.items()}))]
        except ValueError as error:
            raise BadData(f"--label-map: {error}; this model needs numbers.") from None
    by_name = _words({name: i for i, name in enumerate(names)})
    by_number = {str(i): i for i in range(len(names))}
    if not label_map:
        return [(BY_NAME, by_name), (BY_NUMBER, by_number)]
    for known in (by_name, by_number):  # as names if they all are: a map is never ambiguous
        try:
            return [(BY_MAP, _words({k: find(v, known) for k, v in label_map.items()}))]
        except (KeyError, ValueError):
            continue
    raise BadData(
        f"--label-map: {', '.join(map(str, label_map.values()))} are neither names nor numbers of "
        f"the model's labels: {_listed(names)}."
    )


def understand(
    given: Mapping[int, Any], ways: Sequence[Reading], task: Task, names: Sequence[str]
) -> tuple[dict[int, Any], str]:
    """Each label as ``Task.evaluate`` takes it, or ``Unreadable``; and the way of reading.

    given: line → label. The way is the one that reads every label that can be read at all.

    Raises:
        BadData: two ways mean something different, or the numbers begin at 1.
    """
    kinds = {repr(value): value for value in given.values()}
    read = [{k: attempt(value, way, task, names) for k, value in kinds.items()} for way in ways]
    each = [[one[repr(value)] for value in given.values()] for one in read]
    good = [[not isinstance(value, Unreadable) for value in one] for one in each]
    possible = [any(one) for one in zip(*good, strict=True)]
    complete = [i for i, one in enumerate(good) if one == possible]
    for line, *found in zip(given, *each, strict=True):
        meanings = {str(one) for one in found if not isinstance(one, Unreadable)}
        if len(complete) != 1 and len(meanings) > 1:
            raise BadData(_ambiguous(line, given[line], names))
    # Where names and numbers are mixed, those that are fewer are wrong.
    best = complete[0] if complete else max(range(len(ways)), key=lambda i: sum(good[i]))
    words = {word(value) for value in given.values() if not isinstance(value, list)}
    if ways[best][0] == BY_NUMBER and str(len(names)) in words and "0" not in words:
        counted = ",".join(f"{i + 1}={i}" for i in range(min(3, len(names))))
        raise BadData(
            f"the labels begin at 1, but the model's numbers begin at 0: say what they mean with "
            f"--label-map {counted},…"
        )
    return dict(zip(given, each[best], strict=True)), ways[best][0]


def attempt(given: Any, way: Reading, task: Task, names: Sequence[str]) -> Any:
    """A label as ``Task.evaluate`` takes it, or ``Unreadable``."""
    how, known = way
    try:
        return task.label(given, known, len(names))
    except ValueError as error:
        return Unreadable(error)
    except KeyError:
        shown = f"label {reprlib.repr(given)} is not"
        if how == BY_MAP:
            return Unreadable(f"{shown} in --label-map: {_listed(list(known))}")
        return Unreadable(
            f"{shown} among the model's: {_listed(names)} (or 0 to {len(names) - 1} in the whole "
            "file). Other words need --label-map"
        )


def _ambiguous(line: int, given: Any, names: Sequence[str]) -> str:
    by_number = _listed([f"{i}={name}" for i, name in enumerate(names)], ",")
    by_name = _listed([f"{name}={name}" for name in names], ",")
    return (
        f"label {reprlib.repr(given)} in line {line} is the name of one label and the number of "
        f"another. If the file has numbers, give --label-map {by_number}; if it has names, "
        f"--label-map {by_name}"
    )


def _listed(words: Sequence[str], separator: str = ", ") -> str:
    return separator.join(words[:10]) + (f"{separator}…" if len(words) > 10 else "")


def _words(meaning: Mapping[str, float]) -> Known:
    """Words as they are compared; in lower case too, unless two would be the same then.

    Words that only differ in what ``word`` drops cannot be told apart, so they are left out.
    """
    count = Counter(map(word, meaning))
    exact = {word(key): value for key, value in meaning.items() if count[word(key)] == 1}
    folded = {key.casefold(): value for key, value in exact.items()}
    return exact | folded if len(folded) == len(exact) else exact
