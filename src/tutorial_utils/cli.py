"""python -m tutorial_utils COMMAND: check, prepare, measure, optimize, publish, serve, withdraw."""

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tutorial_utils.core.errors import TutorialError

DONE, REFUSED, CANNOT, FAULT, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = """exit codes: 0 done (optimize: promoted), 1 refused by the gate of optimize,
2 the input or the machine will not do, 3 a fault of this package, 130 interrupted"""
_EXTRAS = {"serve": "serve"}  # command → the extra that it needs; the others need learn


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code, one of ``EXIT_CODES``.

    What goes wrong is told in one line on stderr. Of a fault, the traceback goes to a file that
    this line names.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tutorial_utils", description=__doc__, epilog=EXIT_CODES
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="will this machine run the series?")
    check.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser("prepare", help="fetch, fine-tune and build what the notebooks start from")
    bench = commands.add_parser("bench", help="measure the steps and record them in the ledger")
    bench.add_argument("steps", nargs="*", help="some of them; all when not given")
    ledger = commands.add_parser("ledger", help="print the ledger and save it as a figure")
    ledger.add_argument("--figure", type=Path, help="where to (PNG)")
    execute = commands.add_parser("notebooks", help="execute notebooks from top to bottom")
    execute.add_argument("names", nargs="*", help="how their names start; all when not given")
    execute.add_argument("--into", type=Path, help="folder for the results; in place by default")
    _add_optimize(commands)
    publish = commands.add_parser("publish", help="put the tuned classifier into a registry")
    publish.add_argument("--registry", type=Path, required=True, help="folder of models")
    publish.add_argument("--model", default="sentiment")
    triton = commands.add_parser("triton", help="write a version for Triton Inference Server")
    triton.add_argument("--registry", type=Path, required=True, help="folder of models")
    triton.add_argument("--model", default="sentiment")
    triton.add_argument("--version", default="latest", help="its number, or latest")
    triton.add_argument("--out", type=Path, required=True, help="Triton's model repository")
    withdraw = commands.add_parser("withdraw", help="take a version out of use, for all who serve")
    withdraw.add_argument("--registry", type=Path, required=True, help="folder of models")
    withdraw.add_argument("--model", default="sentiment")
    withdraw.add_argument("--version", required=True, help="its number")
    withdraw.add_argument("--reason", default="by hand", help="what others are told")
    withdraw.add_argument("--undo", action="store_true", help="bring it back into use")
    # Its flags are the fields of its settings, which read them themselves.
    commands.add_parser("serve", help="start the service on loopback", add_help=False)
    options, rest = parser.parse_known_args(arguments)
    if options.command == "serve":
        options.flags = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _COMMANDS[options.command](options)
    except KeyboardInterrupt:
        return _say("Interrupted.", INTERRUPTED)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("", "tutorial_utils"):
            return _fault(error)
        extra = _EXTRAS.get(options.command, "learn")
        fix = f'pip install "tutorial-utils[{extra}]"'
        return _say(f"`{options.command}` needs {missing}, which is not installed: {fix}", CANNOT)
    except TutorialError as error:
        if error.exit_code == FAULT:
            return _fault(error)
        return _say(f"{type(error).__name__}: {error}", error.exit_code)
    except (OSError, MemoryError) as error:
        return _say(f"{type(error).__name__}: {error}", CANNOT)
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
        f"A fault of this package, not of your input ({cause}). Please report it with the "
        f"traceback, which is in {file.name}",
        FAULT,
    )


def _add_optimize(commands) -> None:
    limits = {
        "--max-score-fall": (0.005, "how far F1 may fall"),
        "--max-rmse-rise": (
            0.01,
            "regression: how far RMSE may rise, as a share of the labels' standard deviation",
        ),
        "--min-agreement": (0.98, "least share of texts with PyTorch's answer"),
        "--max-latency": (1.0, "time relative to PyTorch fp32"),
        "--max-size": (1.0, "size relative to PyTorch fp32"),
        "--max-slower": (1.05, "time relative to the version promoted before"),
    }
    command = commands.add_parser("optimize", help="make a classifier of yours fast, and promote")
    command.add_argument("source", help="folder of save_pretrained, or a name on the hub")
    command.add_argument("--data", type=Path, help="labelled texts: CSV, TSV or JSON lines")
    command.add_argument("--out", type=Path, required=True, help="folder for the report and files")
    command.add_argument("--registry", type=Path, help="folder of models; OUT/registry by default")
    command.add_argument("--model", default="model", help="its name in the registry")
    for flag, (default, text) in limits.items():
        command.add_argument(flag, type=float, default=default, help=f"{text} ({default})")
    command.add_argument(
        "--certain",
        action="store_true",
        help="the whole interval of the score must keep to its limit",
    )
    # Without a default: what is given wins over --quick.
    command.add_argument("--max-texts", type=int, help="texts measured on (4000; --quick: 2000)")
    command.add_argument("--rounds", type=int, help="rounds of each timing (7; --quick: 5)")
    command.add_argument("--seconds", type=float, help="seconds of a round (0.3; --quick: 0.1)")
    command.add_argument("--quick", action="store_true", help="fewer candidates, shorter timing")


def _check(options: argparse.Namespace) -> int:
    from tutorial_utils.lessons import preflight

    results = preflight.run()
    if options.json:
        print(json.dumps([result.to_dict() for result in results], indent=2))
    else:
        print(*results, sep="\n")
    return DONE if preflight.passed(results) else CANNOT


def _prepare(options: argparse.Namespace) -> int:
    from tutorial_utils.lessons import pipeline

    pipeline.prepare(progress=lambda text: print(text, flush=True))
    return DONE


def _bench(options: argparse.Namespace) -> int:
    from tutorial_utils.lessons import ledger, measure, pipeline

    for step in options.steps or pipeline.STEPS:
        if step not in pipeline.STEPS:
            raise pipeline.UnknownStep(f"There is no step {step!r}: choose among {pipeline.STEPS}.")
        ledger.record(measure.row(step))
        print(f"measured {step}", flush=True)
    return _ledger(argparse.Namespace(figure=None))


def _ledger(options: argparse.Namespace) -> int:
    from tutorial_utils.core import paths
    from tutorial_utils.lessons import figures, ledger

    rows = ledger.rows_of()
    if not rows:
        raise ledger.BadLedger(
            "The ledger is empty: run the notebooks or `python -m tutorial_utils bench` first."
        )
    target = options.figure or paths.home() / "ledger.png"
    with paths.replacing(Path(target)) as temporary:
        figures.ledger(rows).savefig(temporary, dpi=100)
    print(ledger.table(rows))
    print(f"\n{rows[-1].machine}\nfigure: {target.name} in {Path(target).parent.name}/")
    return DONE


def _notebooks(options: argparse.Namespace) -> int:
    import time

    from tutorial_utils.lessons import ledger, notebooks

    if not options.names:  # from the beginning: no notebook shows what a later one will find
        ledger.set_aside()
    for source in notebooks.find(options.names):
        start = time.perf_counter()
        print(f"{source.stem} … ", end="", flush=True)
        notebooks.execute(source, options.into / source.name if options.into else source)
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return DONE


def _optimize(options: argparse.Namespace) -> int:
    from tutorial_utils import optimize
    from tutorial_utils.optimize import gate, report

    limits = gate.Limits(
        score_fall=options.max_score_fall,
        rmse_rise=options.max_rmse_rise,
        certain=options.certain,
        agreement=options.min_agreement,
        latency=options.max_latency,
        size=options.max_size,
        slower=options.max_slower,
    )
    effort = optimize.QUICK if options.quick else optimize.Effort()
    names = ("rounds", "seconds", "max_texts")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    outcome = optimize.optimize(
        options.source,
        options.out,
        data=options.data,
        registry=options.registry,
        name=options.model,
        limits=limits,
        effort=replace(effort, **given),
        progress=lambda text: print(text, flush=True),
    )
    report.write(outcome, options.out)
    print(gate.table(outcome.checks))
    print(report.headline(outcome))
    return DONE if outcome.promoted else REFUSED


def _publish(options: argparse.Namespace) -> int:
    from tutorial_utils.lessons import pipeline

    folder = pipeline.publish(options.registry, options.model)
    print(f"published {folder.parent.name} version {folder.name}")
    return DONE


def _triton(options: argparse.Namespace) -> int:
    from tutorial_utils.registry import triton

    folder = triton.write(options.registry, options.model, options.out, options.version)
    print(f"wrote {folder.parent.name} version {folder.name}; its inputs are token ids")
    return DONE


def _withdraw(options: argparse.Namespace) -> int:
    from tutorial_utils import registry

    folder, name, version = options.registry, options.model, options.version
    if options.undo:
        registry.restore(folder, name, version)
    else:
        registry.withdraw(folder, name, version, options.reason)
    known = registry.versions(folder, name)
    print(f"{name}: in use {', '.join(known) or 'none'}; `latest` is {known[-1] if known else '–'}")
    return DONE


def _serve(options: argparse.Namespace) -> int:
    from tutorial_utils.serving import settings
    from tutorial_utils.serving.process import server

    server.serve(settings.parse(options.flags))
    return DONE


_COMMANDS = {
    "check": _check,
    "prepare": _prepare,
    "bench": _bench,
    "ledger": _ledger,
    "optimize": _optimize,
    "notebooks": _notebooks,
    "publish": _publish,
    "serve": _serve,
    "triton": _triton,
    "withdraw": _withdraw,
}
