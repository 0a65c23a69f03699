"""The report of a run of ``optimize``, for people (Markdown, a figure) and for programs (JSON)."""

from pathlib import Path

from matplotlib.figure import Figure

from tutorial_utils import plots
from tutorial_utils.bench.intervals import digits
from tutorial_utils.core import paths, records
from tutorial_utils.core.tables import Table
from tutorial_utils.optimize import choice, gate
from tutorial_utils.optimize.results import PYTORCH, Measured
from tutorial_utils.optimize.run import Outcome

REPORT, RESULT, GAINS = "report.md", "report.json", "figures/gains.png"


def write(outcome: Outcome, folder: Path) -> Path:
    """Write report, JSON and figure into ``folder``; return the path of the report."""
    folder = Path(folder)
    with paths.replacing(folder / GAINS) as temporary:
        gains(outcome).savefig(temporary, dpi=100)
    paths.write(folder / RESULT, records.dumps(outcome))
    paths.write(folder / REPORT, markdown(outcome))
    return folder / REPORT


def headline(outcome: Outcome) -> str:
    """One sentence: the promoted version, or what each candidate missed."""
    if not outcome.promoted:
        unusable = [t for t in outcome.trials if not t.kept and not t.times and not t.megabytes]
        rest = "".join(f"; {trial.name}: {trial.reason}" for trial in unusable)
        return f"Refused: {choice.refusal(outcome.judged)}{rest}."
    named = f"{outcome.name} version {outcome.version}"
    if not outcome.added:
        return f"Nothing new: {named} has these files and this recipe already."
    return f"Promoted: {named}, {outcome.judged[0].candidate.name}."


def markdown(outcome: Outcome) -> str:
    """The whole report."""
    session, recipe = outcome.recipe.session, outcome.recipe
    parts = [
        f"# {outcome.name}: {outcome.family}, {outcome.task.replace('_', ' ')}",
        headline(outcome),
        "## The gate",
        gate.table(outcome.checks).markdown(),
        *([judged_table(outcome).markdown()] if len(outcome.judged) > 1 else []),
        "## What each step gained and cost",
        f"Times are relative to {outcome.baseline}: 0.5 is half the time. All were measured side "
        "by side, each in its own process.",
        gain_table(outcome).markdown(),
        f"![Bars: time of each step relative to PyTorch, for each workload.]({GAINS})",
        "## What was tried",
        "Each candidate was compared with the best file of earlier stages. Rejected candidates "
        "are listed too, with the reason. Agreement and score come from a quarter of the texts; "
        "the gate uses the others, so its figures can differ. docs/reading-the-report.md explains "
        "the terms.",
        trial_table(outcome).markdown(),
        "## The recipe",
        f"Provider: {session.provider}. Steps: {', '.join(recipe.steps)}. Batches of "
        f"{recipe.token_budget:,} tokens, sorted by length; texts truncated to {recipe.max_length} "
        f"tokens, padded on the {recipe.padding.side}. "
        f"Optimizers disabled at load: {', '.join(session.disabled_optimizers) or 'none'}.",
        "## Notes",
        "\n".join(f"- {note}" for note in outcome.notes),
        f"Measured on {outcome.machine}.",
    ]
    return "\n\n".join(parts) + "\n"


def judged_table(outcome: Outcome) -> Table:
    """The candidates that the gate checked; the chosen one is first."""
    rows = [
        (
            one.candidate.name,
            one.candidate.session.provider if one.candidate.session else outcome.provider,
            f"{digits(one.time)} ×" if one.evidence.time else "–",
            f"{one.evidence.size:.2f} ×",
            f"missed: {'; '.join(map(str, one.missed))}" if one.missed else "passed",
        )
        for one in outcome.judged
    ]
    return Table.of(("candidate", "provider", "mean time", "size", "gate"), rows)


def gain_table(outcome: Outcome) -> Table:
    """Rows: PyTorch, the kept steps and the version in use; columns: workloads."""

    def cell(name: str, found: Measured) -> str:
        return f"1 ({found.p50_ms:,.1f} ms)" if name == PYTORCH else found.cell

    names = next(iter(outcome.times.values()))
    rows = [(n, *(cell(n, times[n]) for times in outcome.times.values())) for n in names]
    return Table.of(("step", *outcome.times), rows)


def trial_table(outcome: Outcome) -> Table:
    """Every candidate, kept and rejected."""
    close = outcome.judged[0].evidence.close
    agreement = close[0].name if close else "agreement"
    own = outcome.provider
    headers = ("stage", "candidate", "provider", "", "time", "MB", agreement, "score", "why")
    rows = (
        (
            trial.stage,
            trial.name,
            trial.provider or own,
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
    """Time of each step relative to PyTorch, by workload; the chosen file is marked."""
    times = {f"{w}: {n}": t for w, found in outcome.times.items() for n, t in found.items()}
    chosen = outcome.judged[0].candidate.name
    marked = [f"{workload}: {chosen}" for workload in outcome.times]
    told = sorted(times[key].ratio for key in marked)
    takes = " to ".join(dict.fromkeys((digits(told[0]), digits(told[-1]))))
    return plots.bars(
        {key: time.ratio for key, time in times.items()},
        title=f"{outcome.name}: {chosen} takes {takes} × the time of {outcome.baseline}",
        unit=f"time relative to {outcome.baseline} (less is better)",
        highlight=marked,
        intervals={key: (time.low, time.high) for key, time in times.items()},
        digits=2,
        limits={outcome.baseline: 1},
    )
