"""python -m tutorial_utils COMMAND: check, prepare, measure, optimize, publish, serve, withdraw."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code (0: done, 1: a check failed, 2: it could not be done)."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_utils", description=__doc__)
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
    repository = commands.add_parser("repository", help="write a version as Triton reads it")
    repository.add_argument("--registry", type=Path, required=True, help="folder of models")
    repository.add_argument("--model", default="sentiment")
    repository.add_argument("--version", default="latest", help="its number, or latest")
    repository.add_argument("--out", type=Path, required=True, help="Triton's model repository")
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
    except (RuntimeError, ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


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
    command.add_argument("--max-texts", type=int, default=4_000, help="texts measured on (4000)")
    command.add_argument("--rounds", type=int, default=7, help="rounds of each timing (7)")
    command.add_argument("--seconds", type=float, default=0.3, help="seconds of a round (0.3)")
    command.add_argument("--quick", action="store_true", help="fewer candidates, shorter timing")


def _check(options: argparse.Namespace) -> int:
    from tutorial_utils import preflight

    results = preflight.run()
    if options.json:
        print(json.dumps([result.to_dict() for result in results], indent=2))
    else:
        print(*results, sep="\n")
    return 0 if preflight.passed(results) else 1


def _prepare(options: argparse.Namespace) -> int:
    from tutorial_utils import steps

    steps.prepare(progress=lambda text: print(text, flush=True))
    return 0


def _bench(options: argparse.Namespace) -> int:
    from tutorial_utils import ledger, measure, steps

    for step in options.steps or steps.STEPS:
        if step not in steps.STEPS:
            raise steps.UnknownStep(f"There is no step {step!r}: choose among {steps.STEPS}.")
        ledger.record(measure.row(step))
        print(f"measured {step}", flush=True)
    return _ledger(argparse.Namespace(figure=None))


def _ledger(options: argparse.Namespace) -> int:
    from tutorial_utils import figures, ledger, paths

    rows = ledger.rows_of()
    if not rows:
        print("The ledger is empty: run the notebooks or `python -m tutorial_utils bench` first.")
        return 1
    target = options.figure or paths.home() / "ledger.png"
    with paths.replacing(Path(target)) as temporary:
        figures.ledger(rows).savefig(temporary, dpi=100)
    print(ledger.table(rows))
    print(f"\n{rows[-1].machine}\nfigure: {target.name} in {Path(target).parent.name}/")
    return 0


def _notebooks(options: argparse.Namespace) -> int:
    import time

    from tutorial_utils import ledger, notebooks

    if not options.names:  # from the beginning: no notebook shows what a later one will find
        ledger.set_aside()
    for source in notebooks.find(options.names):
        start = time.perf_counter()
        print(f"{source.stem} … ", end="", flush=True)
        notebooks.execute(source, options.into / source.name if options.into else source)
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return 0


def _optimize(options: argparse.Namespace) -> int:
    from tutorial_utils import gate, optimize, report

    limits = gate.Limits(
        score_fall=options.max_score_fall,
        rmse_rise=options.max_rmse_rise,
        certain=options.certain,
        agreement=options.min_agreement,
        latency=options.max_latency,
        size=options.max_size,
        slower=options.max_slower,
    )
    effort = optimize.Effort(options.rounds, options.seconds, options.max_texts)
    if options.quick:
        effort = optimize.QUICK
    outcome = optimize.optimize(
        options.source,
        options.out,
        data=options.data,
        registry=options.registry,
        name=options.model,
        limits=limits,
        effort=effort,
        progress=lambda text: print(text, flush=True),
    )
    report.write(outcome, options.out)
    print(gate.table(outcome.checks))
    print(report.headline(outcome))
    return 0 if outcome.promoted else 1


def _publish(options: argparse.Namespace) -> int:
    from tutorial_utils import steps

    folder = steps.publish(options.registry, options.model)
    print(f"published {folder.parent.name} version {folder.name}")
    return 0


def _repository(options: argparse.Namespace) -> int:
    from tutorial_utils.serving import repository

    folder = repository.write(options.registry, options.model, options.out, options.version)
    print(f"wrote {folder.parent.name} version {folder.name}; its inputs are token ids")
    return 0


def _withdraw(options: argparse.Namespace) -> int:
    from tutorial_utils.serving import registry

    shelf, name, version = options.registry, options.model, options.version
    if options.undo:
        registry.restore(shelf, name, version)
    else:
        registry.withdraw(shelf, name, version, options.reason)
    known = registry.versions(shelf, name)
    print(f"{name}: in use {', '.join(known) or 'none'}; `latest` is {known[-1] if known else '–'}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    try:
        from tutorial_utils.serving import server, settings
    except ModuleNotFoundError as error:
        mend = 'pip install "tutorial-utils[serve]"'
        raise RuntimeError(f"The service needs {error.name}: {mend}") from error
    server.serve(settings.parse(options.flags))
    return 0


_COMMANDS = {
    "check": _check,
    "prepare": _prepare,
    "bench": _bench,
    "ledger": _ledger,
    "optimize": _optimize,
    "notebooks": _notebooks,
    "publish": _publish,
    "repository": _repository,
    "serve": _serve,
    "withdraw": _withdraw,
}
