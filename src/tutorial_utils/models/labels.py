"""The labels and the task of a classification head, from the fields of a ``config.json``."""

from collections.abc import Mapping
from typing import Any

from tutorial_utils.core.errors import InvalidArgument

_TASKS = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}


def names_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The name of each output of the head, in their order.

    Raises:
        InvalidArgument: `id2label`, `label2id` and `num_labels` do not give each output one name.
            The message names the field and the fix.
    """
    given, numbers, count = (config.get(f) for f in ("id2label", "label2id", "num_labels"))
    if count is not None and (not isinstance(count, int) or count < 1):
        raise InvalidArgument(f"`num_labels` is {count!r}: give the number of outputs of the head")
    if isinstance(given, list):
        given = dict(enumerate(given))
    if not given and isinstance(numbers, dict):
        given = {str(number): name for name, number in numbers.items()}
    if not given:
        return tuple(f"LABEL_{i}" for i in range(count or 2))
    names = _in_order(given)
    if count not in (None, len(names)):
        raise InvalidArgument(
            f"`num_labels` is {count}, but `id2label` names {len(names)} labels: correct one"
        )
    known = {str(n): i for n, i in numbers.items()} if isinstance(numbers, dict) else {}
    if all(name == f"LABEL_{number}" for name, number in known.items()):
        return names  # the library's own names are left over where only `id2label` was edited
    for number, name in enumerate(names):
        if str(known.get(name)) != str(number):
            says = f"gives it {known[name]!r}" if name in known else "does not have it"
            raise InvalidArgument(
                f"`id2label` gives {name!r} the number {number}, but `label2id` {says}: correct "
                "the wrong one, or remove `label2id`"
            )
    return names


def task_of(config: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The task, one of ``tasks.TASKS``, from `problem_type` and the number of outputs.

    Raises:
        InvalidArgument: `problem_type` is unknown, or does not suit the number of outputs.
    """
    kind = config.get("problem_type")
    if kind is None:  # as ``transformers.pipeline`` reads it
        return "score" if len(names) == 1 else "single_label"
    if str(kind) not in _TASKS:
        raise InvalidArgument(
            f"`problem_type` {kind!r} is unknown: give one of {', '.join(_TASKS)}"
        )
    if _TASKS[kind] == "single_label" and len(names) == 1:
        raise InvalidArgument(
            f"`problem_type` is {kind}, but one output alone always has probability 1: remove it "
            "for a score between 0 and 1, or give `regression` for a number"
        )
    return _TASKS[kind]


def _in_order(given: Any) -> tuple[str, ...]:
    try:
        by_number = {int(number): name for number, name in given.items()}
    except (AttributeError, TypeError, ValueError):
        by_number = {-1: None}
    if sorted(by_number) != list(range(len(by_number))):
        raise InvalidArgument(
            f"`id2label` is {given!r}: name each output of the head, numbered from 0 without gaps"
        )
    names: list[str] = []
    for number, name in sorted(by_number.items()):
        if isinstance(name, (int, float)) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name.strip():
            raise InvalidArgument(
                f"`id2label` names label {number} {name!r}, which is not text: put it in quotes"
            )
        if name in names:
            raise InvalidArgument(
                f"`id2label` names labels {names.index(name)} and {number} both {name!r}: give "
                "each a name of its own"
            )
        names.append(name)
    return tuple(names)
