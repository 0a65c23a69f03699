"""The report of a run of ``optimize``, for people (Markdown, figures) and for programs (JSON)."""

from pathlib import Path

from matplotlib.figure import Figure

from tutorial_utils import plots
from tutorial_utils.core import paths, records
from tutorial_utils.core.tables import Table
from tutorial_utils.optimize import gate, timing
from tutorial_utils.optimize.run import Outcome
from tutorial_utils.optimize.stages import PYTORCH, Measured

REPORT, RESULT, GAINS, FRONT = "report.md", "report.json", "gains.png", "candidates.png"


def write(outcome: Outcome, folder: Path) -> Path:
    """Write report, JSON and figures into ``folder``; return the path of the report."""
    folder = Path(folder)
    drawn = {GAINS: gains(outcome)} | ({FRONT: front(outcome)} if _placed(outcome) else {})
    for name, figure in drawn.items():
        with paths.replacing(folder / "figures" / name) as temporary:
            figure.savefig(temporary, dpi=100)
    paths.write(folder / RESULT, records.dumps(outcome))
    paths.write(folder / REPORT, markdown(outcome, tuple(drawn)))
    return folder / REPORT


def headline(outcome: Outcome) -> str:
    """One sentence: the promoted version, or why it was refused."""
    if outcome.promoted:
        return f"Promoted: {outcome.name} version {outcome.version}."
    return "Refused: " + "; ".join(map(str, outcome.missed)) + "."


def markdown(outcome: Outcome, pictures: tuple[str, ...] = ()) -> str:
    """The whole report."""
    session, recipe = outcome.recipe.session, outcome.recipe
    parts = [
        f"# {outcome.name}: {outcome.family}, {outcome.task.replace('_', ' ')}",
        headline(outcome),
        "## The gate",
        gate.table(outcome.checks).markdown(),
        "## What each step gained and cost",
        "Times are relative to PyTorch fp32: 0.5 is half the time. All were measured side by "
        "side, each in its own process.",
        gain_table(outcome).markdown(),
        "## What was tried",
        "Each candidate was compared with the best file of earlier stages. Rejected candidates "
        "are listed too, with the reason.",
        trial_table(outcome).markdown(),
        *(f"![{_ALT[name]}](figures/{name})" for name in pictures),
        "## The recipe",
        f"Steps: {', '.join(recipe.steps)}. Batches of {recipe.token_budget:,} tokens, sorted by "
        f"length; texts truncated to {recipe.max_length} tokens, padded on the "
        f"{recipe.padding.side}. "
        f"Optimizers disabled at load: {', '.join(session.disabled_optimizers) or 'none'}.",
        "## Notes",
        "\n".join(f"- {note}" for note in outcome.notes),
        f"Measured on {outcome.machine}.",
    ]
    return "\n\n".join(parts) + "\n"


_ALT = {
    GAINS: "Bars: time of each step relative to PyTorch, for each workload.",
    FRONT: "Points: time and share of answers that differ from PyTorch's, for each candidate.",
}


def gain_table(outcome: Outcome) -> Table:
    """Rows: PyTorch, the kept steps and the version in use; columns: workloads."""

    def cell(name: str, found: Measured) -> str:
        return f"1 ({found.p50_ms:,.1f} ms)" if name == PYTORCH else found.cell

    names = next(iter(outcome.times.values()))
    rows = [(n, *(cell(n, times[n]) for times in outcome.times.values())) for n in names]
    return Table.of(("step", *outcome.times), rows)


def trial_table(outcome: Outcome) -> Table:
    """Every candidate, kept and rejected."""
    headers = ("stage", "candidate", "", "time", "MB", "agreement", "score", "why")
    rows = (
        (
            trial.stage,
            trial.name,
            "kept" if trial.kept else "rejected",
            "; ".join(f"{workload} {ratio.cell}" for workload, ratio in trial.times.items())
            or None,
            f"{trial.megabytes:,.1f}" if trial.megabytes else None,
            f"{trial.agreement:.2%}" if trial.agreement is not None else None,
            f"{trial.difference:+.4f}" if trial.difference is not None else None,
            trial.reason,
        )
        for trial in outcome.trials
    )
    return Table.of(headers, rows)


def gains(outcome: Outcome) -> Figure:
    """Time of each step relative to PyTorch, by workload."""
    times = {f"{w}: {n}": t for w, found in outcome.times.items() for n, t in found.items()}
    return plots.bars(
        {key: time.ratio for key, time in times.items()},
        title=f"{outcome.name}: what each step gained",
        unit="time relative to PyTorch fp32 (less is better)",
        intervals={key: (time.low, time.high) for key, time in times.items()},
        digits=2,
    )


def front(outcome: Outcome) -> Figure:
    """Every quantized candidate: its time, and how often its answer differs."""
    points = _placed(outcome)
    best = [t.name for t in outcome.trials if t.name in points and t.kept]
    best = best or [min(points, key=lambda name: points[name][0])]
    return plots.front(
        points,
        best,
        title=f"{outcome.name}: quantized candidates",
        x="time relative to the best fp32 file",
        y="answers that differ from PyTorch's, %",
    )


def _placed(outcome: Outcome) -> dict[str, tuple[float, float]]:
    return {
        trial.name: (timing.mean(trial.times), 100 * (1 - trial.agreement))
        for trial in outcome.trials
        if trial.times and trial.agreement is not None
    }
