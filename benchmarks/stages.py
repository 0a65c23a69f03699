"""Runs in stages. Results are stored after each stage, so a later failure loses nothing."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from benchmarks.common import Folder, run_folder
from tutorial_utils.core import machine

Stage = Callable[[bool], Iterator[dict]]  # quick → the results so far, after each part of it


def run(
    name: str,
    words: Sequence[str],
    stages: Mapping[str, Stage],
    draw: Callable[[dict, Folder], None],
    more: Callable[[], dict] = dict,
    package: str = "",
) -> dict:
    """Run the stages named in ``words``, or all of them; return everything measured so far.

    A named stage replaces its earlier results and leaves those of other stages as they are.
    ``report`` only draws the report again. ``--quick`` tests the code with little effort, in its
    own folder. Results are written to ``NAME.json``, then passed to ``draw``.

    Args:
        more: further facts to store with each stage, for example the versions of peers.
        package: the package that is run, if it is not called ``name``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{package or name}")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join([*stages, "report"]))
    parser.add_argument(
        "--quick",
        action="store_true",
        help="test the code with little effort; do not use the results",
    )
    options = parser.parse_args(words)
    if unknown := sorted(set(options.stages) - {*stages, "report"}):
        parser.error(f"unknown stage {', '.join(unknown)}; choose from {', '.join(stages)}, report")
    here = json.loads(json.dumps(asdict(machine.describe())))  # before any core is chosen
    folder = run_folder(options.quick)
    found = folder.read(name) if options.stages else {}
    if options.stages == ["report"] and not found:
        sys.exit(f"{folder.path / name}.json does not exist. Run the stages first.")
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
    """Warnings for readers of a report: missing stages, and stages of different versions."""
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
            "**The stages were measured with different files or versions. Measure all of them "
            "again before you compare them.**\n"
        )
    return "\n".join(["", *lines]) if lines else ""
