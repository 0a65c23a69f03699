"""Commands for the course (check, prepare, lab, reset, bench, ledger, notebooks, solve), and for
your own models (inspect, optimize, publish, serve, withdraw, triton)."""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from tutorial_utils.core.errors import TutorialError

DONE, REFUSED, CANNOT, FAULT, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = """exit codes: 0 done (optimize: promoted), 1 refused by the gate of optimize,
2 a problem with the input or the machine, 3 a bug in this package, 130 interrupted"""
LIMITS = {  # field of ``gate.Limits`` → its flag, default and help
    "score_fall": ("--max-score-fall", 0.005, "how far F1 may fall"),
    "rmse_rise": (
        "--max-rmse-rise",
        0.01,
        "how far RMSE may rise, in the labels' standard deviations",
    ),
    "agreement": ("--min-agreement", 0.98, "smallest share of texts with PyTorch's answer"),
    "latency": ("--max-latency", 1.0, "time relative to PyTorch: fp32 on a CPU, fp16 on a GPU"),
    "size": ("--max-size", 1.0, "size relative to PyTorch fp32"),
    "slower": ("--max-slower", 1.05, "time relative to the version in use"),
}
DATA = {  # how ``--data`` is read → help; the first four are fields of ``labelled.Columns``
    "text": "column of the texts (text)",
    "pair": "column of the second texts (text_pair, if there is one)",
    "label": "column of the labels (label)",
    "group": "column of the queries that the texts are ranked for",
    "label_map": "what the labels mean: neg=0,pos=1, or a JSON file that holds an object",
    "delimiter": "what separates the columns; by default taken from the first line",
}
_tell = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code, one of ``EXIT_CODES``.

    Errors are reported in one line on stderr. If the error is a bug in this package, the line names
    a file with the traceback.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command in ("serve", "lab"):
        options.flags = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return options.run(options) or DONE
    except KeyboardInterrupt:
        return _say("Interrupted.", INTERRUPTED)
    except ModuleNotFoundError as error:
        missing = (error.name or "tutorial_utils").split(".")[0]
        if missing == "tutorial_utils":
            return _fault(error)
        extra = "serve" if options.command == "serve" else "learn"
        fix = f'pip install ".[{extra}]" in the repository'
        return _say(f"`{options.command}` needs {missing}, which is not installed: {fix}", CANNOT)
    except (TutorialError, OSError, MemoryError) as error:
        code = getattr(error, "exit_code", CANNOT)
        return _fault(error) if code == FAULT else _say(f"{type(error).__name__}: {error}", code)
    except Exception as error:
        return _fault(error)


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def _fault(error: Exception) -> int:
    """Write the traceback to a file; say so in one line."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="tutorial-utils-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.writelines(traceback.format_exception(error))
    cause = f"{type(error).__name__}: {error}".splitlines()[0]
    return _say(
        f"This is a bug in the package, not a problem with your input ({cause}). Please report it "
        f"with the traceback in {file.name}",
        FAULT,
    )


def _parser() -> argparse.ArgumentParser:
    """All commands with their flags; ``run`` is the function that a command calls."""
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_utils", description=__doc__, epilog=EXIT_CODES
    )
    commands = parser.add_subparsers(dest="command", required=True)
    stored = argparse.ArgumentParser(add_help=False)  # flags of all commands that use a registry
    stored.add_argument("--registry", type=Path, required=True, help="folder of models")
    text = "name of the model; you can leave it out if there is only one (publish: sentiment)"
    stored.add_argument("--model", help=text)

    def command(name: str, run, text: str, *parents, **given) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, parents=parents, **given)
        made.set_defaults(run=run)
        return made

    check = command("check", _check, "check whether this machine can run the course")
    check.add_argument("--json", action="store_true", help="print JSON, for programs")
    command("prepare", _prepare, "fetch, fine-tune and build everything that the notebooks need")
    bench = command("bench", _bench, "measure the steps and record them in the ledger")
    bench.add_argument("steps", nargs="*", help="which steps; all by default")
    ledger = command("ledger", _ledger, "print the ledger and save it as a figure")
    ledger.add_argument("--figure", type=Path, help="PNG file for the figure")
    # Flags that we don't know go to JupyterLab.
    command("lab", _lab, "open your copies of the lessons in JupyterLab", add_help=False)
    anew = command("reset", _reset, "get a fresh copy of a lesson; your old one is kept")
    anew.add_argument("names", nargs="+", help="how the lessons' names start, such as 03")
    execute = command("notebooks", _notebooks, "make notebooks from their sources and execute them")
    execute.add_argument("names", nargs="*", help="how the lessons' names start; by default all")
    execute.add_argument("--into", type=Path, help="folder for the results; by default in place")
    solve = command("solve", _solve, "write copies of the notebooks with every exercise solved")
    solve.add_argument("names", nargs="*", help="how the lessons' names start; by default all")
    solve.add_argument("--into", type=Path, required=True, help="folder for the copies")
    look = command("inspect", _inspect, "show what is known about a model and its data, in seconds")
    _add_model(look)
    look.add_argument("--json", action="store_true", help="print JSON, for programs")
    _add_optimize(command("optimize", _optimize, "make your own model fast, and promote it"))
    command("publish", _publish, "put the tuned classifier into a registry", stored)
    triton = command("triton", _triton, "write a version for Triton Inference Server", stored)
    triton.add_argument("--version", default="latest", help="number of the version, or latest")
    triton.add_argument("--out", type=Path, required=True, help="Triton's model repository")
    withdraw = command(
        "withdraw",
        _withdraw,
        "take a version out of use in all services that follow the registry",
        stored,
    )
    withdraw.add_argument("--version", required=True, help="number of the version")
    withdraw.add_argument("--reason", default="by hand", help="the reason that others are told")
    withdraw.add_argument("--undo", action="store_true", help="bring it back into use")
    # Its flags are the fields of its settings, which parse them.
    command("serve", _serve, "start the service on this machine (127.0.0.1)", add_help=False)
    return parser


def _add_optimize(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("--out", type=Path, required=True, help="folder for the report and files")
    command.add_argument("--registry", type=Path, help="folder of models; by default OUT/registry")
    text = (
        "where the model will run (%(default)s); cpu: OpenVINO is tried too, if it is installed; "
        "cuda: fp16 on an NVIDIA GPU, and a form for a CPU"
    )
    command.add_argument("--provider", choices=("cpu", "cuda"), default="cpu", help=text)
    command.add_argument("--model", default="model", help="name in the registry (%(default)s)")
    for field, (flag, default, text) in LIMITS.items():
        text += " (%(default)s)"
        command.add_argument(flag, dest=field, type=float, default=default, help=text)
    text = "the whole interval of the score must stay within its limit"
    command.add_argument("--certain", action="store_true", help=text)
    # No defaults here: what you give wins over --quick.
    command.add_argument("--max-texts", type=int, help="texts to measure on (4000; --quick: 2000)")
    command.add_argument("--rounds", type=int, help="rounds per timing (7; --quick: 5)")
    command.add_argument("--seconds", type=float, help="seconds per round (0.3; --quick: 0.1)")
    command.add_argument("--quick", action="store_true", help="fewer candidates, shorter timing")
    text = "an answer must not depend on the other texts in its batch"
    command.add_argument("--batch-invariant", action="store_true", help=text)


def _add_model(command: argparse.ArgumentParser) -> None:
    """The model, ``--data``, and how both are read; see ``_given_data``."""
    command.add_argument("source", help="folder written by save_pretrained, or a name on the hub")
    text = "how many tokens to keep of a text; by default what the model can read, at most 512"
    command.add_argument("--max-length", type=int, help=text)
    text = "how to turn an encoder's vectors into one per text: mean, cls or max"
    command.add_argument("--pooling", help=text)
    command.add_argument("--normalize", action="store_true", help="scale vectors to length 1")
    command.add_argument("--data", type=Path, help="labelled texts: CSV, TSV, JSON lines, Parquet")
    for name, text in DATA.items():
        command.add_argument(f"--{name.replace('_', '-')}", help=text)
    text = "leave out bad rows; the report says how many"
    command.add_argument("--skip-bad-rows", action="store_true", help=text)


def _given_data(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments ``data`` and ``reading`` of ``optimize`` and ``inspect``."""
    from tutorial_utils.data import labelled, labels

    named = ((name, getattr(options, name)) for name in [*DATA][:4])
    given = {name: value for name, value in named if value is not None}
    made = labelled.Reading(
        columns=labelled.Columns(**given),
        label_map=labels.parse_map(options.label_map) if options.label_map else None,
        delimiter={"\\t": "\t", "tab": "\t"}.get(options.delimiter, options.delimiter),
        skip_bad_rows=options.skip_bad_rows,
    )
    if made != labelled.Reading() and not options.data:
        raise labelled.BadData("Flags that say how to read the data need --data.")
    return {"data": options.data, "reading": made}


def _check(options: argparse.Namespace) -> int:
    from tutorial_utils.lessons import preflight

    results = preflight.run()
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        print(*results, sep="\n")
    return DONE if preflight.passed(results) else CANNOT


def _prepare(options: argparse.Namespace) -> None:
    from tutorial_utils.lessons import pipeline

    pipeline.prepare(progress=_tell)


def _bench(options: argparse.Namespace) -> None:
    from tutorial_utils.lessons import ledger, measure, pipeline

    for step in options.steps or pipeline.STEPS:
        ledger.record(measure.row(step))
        _tell(f"measured {step}")
    _ledger(argparse.Namespace(figure=None))


def _ledger(options: argparse.Namespace) -> None:
    from tutorial_utils.core import paths
    from tutorial_utils.lessons import figures, ledger

    rows = ledger.rows_of()
    if not rows:
        raise ledger.EmptyLedger(
            "The ledger is empty. Run the notebooks or `python -m tutorial_utils bench` first."
        )
    target = options.figure or paths.home() / "ledger.png"
    with paths.replacing(target) as temporary:
        figures.ledger(rows).savefig(temporary, dpi=100)
    print(ledger.table(rows))
    print(f"\n{rows[-1].machine}\nfigure: {target}")


def _notebooks(options: argparse.Namespace) -> None:
    from tutorial_utils.lessons import ledger, notebooks

    if not options.names:  # start from nothing: no notebook may show a row of a later one
        ledger.set_aside()
    for lesson in notebooks.find(options.names):
        start = time.perf_counter()
        _tell(f"{lesson.stem} … ", end="")
        target = options.into / lesson.name if options.into else lesson
        notebooks.execute(notebooks.read_source(notebooks.source_of(lesson)), target)
        _tell(f"{time.perf_counter() - start:.0f} s")
    if not (options.names or options.into):
        notebooks.keep_ledger()


def _lab(options: argparse.Namespace) -> int:
    from tutorial_utils.lessons import copies, lab, progress

    handed_out = copies.hand_out(progress.folder())
    print(*(copy for copy in handed_out if copy.news), sep="\n")
    return lab.start(handed_out[0].path, options.flags)


def _reset(options: argparse.Namespace) -> None:
    from tutorial_utils.lessons import copies, notebooks, progress

    for lesson in notebooks.find(options.names):
        print(copies.reset(lesson, progress.folder()))


def _solve(options: argparse.Namespace) -> None:
    from tutorial_utils.lessons import copies, notebooks

    for lesson in notebooks.find(options.names):
        copies.save(copies.solved(lesson), options.into / lesson.name)


def _inspect(options: argparse.Namespace) -> int:
    from tutorial_utils.core import records
    from tutorial_utils.optimize import facts

    how = {name: getattr(options, name) for name in ("max_length", "pooling", "normalize")}
    try:
        found = facts.inspect(options.source, **_given_data(options), **how)
    except Exception as error:
        if options.json:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        raise
    print(records.dumps(found) if options.json else found)
    return _say(found.error, CANNOT) if found.error else DONE


def _optimize(options: argparse.Namespace) -> int:
    from tutorial_utils import optimize
    from tutorial_utils.optimize import gate, report, target

    effort = optimize.QUICK if options.quick else optimize.Effort()
    names = ("rounds", "seconds", "max_texts")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    outcome = optimize.optimize(
        options.source,
        options.out,
        **_given_data(options),
        registry=options.registry,
        name=options.model,
        limits=gate.Limits(**{f.name: getattr(options, f.name) for f in fields(gate.Limits)}),
        effort=replace(effort, **given),
        target=target.TARGETS[options.provider],
        max_length=options.max_length,
        pooling=options.pooling,
        normalize=options.normalize,
        batch_invariant=options.batch_invariant,
        progress=_tell,
    )
    report.write(outcome, options.out)
    print(gate.table(outcome.checks))
    print(report.headline(outcome))
    return DONE if outcome.promoted else REFUSED


def _publish(options: argparse.Namespace) -> None:
    from tutorial_utils.lessons import pipeline

    folder = pipeline.publish(options.registry, options.model or "sentiment")
    print(f"published {folder.parent.name} version {folder.name}")


def _triton(options: argparse.Namespace) -> None:
    from tutorial_utils.registry import only_model, triton

    name = options.model or only_model(options.registry)
    folder = triton.write(options.registry, name, options.out, options.version)
    print(f"wrote {folder.parent.name} version {folder.name}; its inputs are token ids")


def _withdraw(options: argparse.Namespace) -> None:
    from tutorial_utils import registry

    folder, version = options.registry, options.version
    name = options.model or registry.only_model(folder)
    if options.undo:
        registry.restore(folder, name, version)
    else:
        registry.withdraw(folder, name, version, options.reason)
    known = registry.versions(folder, name)
    print(f"{name}: in use {', '.join(known) or 'none'}; `latest` is {known[-1] if known else '–'}")


def _serve(options: argparse.Namespace) -> None:
    from tutorial_utils.serving import settings
    from tutorial_utils.serving.process import server

    server.serve(settings.parse(options.flags))
