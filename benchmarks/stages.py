"""Runs in stages. Each stage is kept when it ends, so that a later one that fails costs nothing."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from benchmarks.common import Folder, run_folder
from tutorial_utils.core import machine

Stage = Callable[[bool], Iterator[dict]]  # quick? → what it has measured so far, piece by piece


def run(
    name: str,
    words: Sequence[str],
    stages: Mapping[str, Stage],
    draw: Callable[[dict, Folder], None],
    more: Callable[[], dict] = dict,
    package: str = "",
) -> dict:
    """Run the stages named in ``words``, or all of them; return everything measured so far.

    A stage that is named replaces what an earlier run kept of it, and leaves the others as they
    are. ``report`` only draws again; ``--quick`` tries the code with little effort, in a folder of
    its own. Results go into ``NAME.json``, and from there to ``draw``. more: what else is noted
    beside each stage, the versions of peers for example. package: the
    one that is run, where it is not called ``name``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{package or name}")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join([*stages, "report"]))
    parser.add_argument("--quick", action="store_true", help="try the code; results are worthless")
    options = parser.parse_args(words)
    if unknown := sorted(set(options.stages) - {*stages, "report"}):
        parser.error(f"no stage {', '.join(unknown)}; choose among {', '.join(stages)}, report")
    here = json.loads(json.dumps(asdict(machine.describe())))  # before any core is chosen
    folder = run_folder(options.quick)
    found = folder.read(name) if options.stages else {}
    if options.stages == ["report"] and not found:
        sys.exit(f"{folder.path / name}.json does not exist: measure first, then draw.")
    for stage in [s for s in options.stages or stages if s != "report"]:
        start = time.perf_counter()
        for measured in stages[stage](options.quick):
            seconds = round(time.perf_counter() - start)
            origin = {"seconds": seconds, "versions": here["versions"], **more()}
            known = found.get("stages", {}) | {stage: origin}
            found |= {"machine": here, stage: measured, "stages": known}
            folder.keep(name, found)
        print(f"{stage}: {time.perf_counter() - start:.0f} s", flush=True)
    draw(found, folder)
    print(f"Written to {folder}.", flush=True)
    return found


def notes(name: str, found: dict, stages: Sequence[str]) -> str:
    """What a reader of the report must know: stages that are missing, or of other versions."""
    lines = []
    if missing := [stage for stage in stages if stage not in found]:
        command = f"python -m benchmarks.{name} {' '.join(missing)}"
        lines.append(f"**Not measured: {', '.join(missing)}.** `{command}` measures the rest.\n")
    origins = [
        {key: value for key, value in origin.items() if key != "seconds"}
        for origin in found.get("stages", {}).values()
    ]
    if any(origin != origins[0] for origin in origins):
        lines.append(
            "**The stages were measured with different files or versions: do not compare one with "
            "another before all have been measured again.**\n"
        )
    return "\n".join(["", *lines]) if lines else ""
