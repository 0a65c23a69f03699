"""Runs in stages: each keeps what it measured, so that one that fails later costs nothing."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from common import RESULTS, write_json

from tutorial_utils import machine

Stage = Callable[[bool], Iterator[dict]]  # quick? → what it has measured so far, piece by piece


def run(
    name: str,
    words: Sequence[str],
    stages: Mapping[str, Stage],
    draw: Callable[[dict], None],
    beside: dict | None = None,
) -> None:
    """Run the stages named in ``words``, or all; ``report`` draws again, ``--quick`` only tries.

    What they find goes into ``results/NAME.json``, with ``beside``, and then to ``draw``.
    """
    quick = "--quick" in words
    named = [word for word in words if word != "--quick"]
    if unknown := set(named) - {*stages, "report"}:
        sys.exit(f"There is no stage {sorted(unknown)}; choose among {', '.join(stages)}, report.")
    found = {} if quick or not named else _stored(name)
    here = json.loads(json.dumps(machine.describe().to_dict()))
    if named != ["report"] and found.get("machine", here) != here:
        sys.exit(f"{name}.json is of another machine or other versions; remove it to begin anew.")
    for stage in named or stages:
        if stage == "report":
            continue
        start = time.perf_counter()
        for measured in stages[stage](quick):
            found[stage] = measured | {"seconds": round(time.perf_counter() - start)}
            if not quick:
                write_json(name, found | (beside or {}))
        print(f"{stage}: {time.perf_counter() - start:.0f} s", flush=True)
    if quick:
        print("A quick run tries the code; its figures are worth nothing, so none was kept.")
    else:
        draw(_stored(name))


def _stored(name: str) -> dict:
    """What earlier stages kept, machine included; {} before the first."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
