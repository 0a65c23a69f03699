"""What each step gains: candidates side by side, the ledger, and the factors of a total."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from tutorial_utils import plots
from tutorial_utils.bench.timer import Comparison
from tutorial_utils.lessons.ledger import Row
from tutorial_utils.plots import BLUE, GREY, ORANGE, styled


def comparison(result: Comparison, title: str) -> Figure:
    """Median latency of each candidate with the span from p50 to p95.

    Marked is what differs measurably from the reference, whose p50 is a line.
    """
    timings = result.timings
    reference = next(iter(timings))
    return plots.bars(
        {name: t.p50_ms for name, t in timings.items()},
        title=title,
        unit="milliseconds a call (bar: p50, whisker: to p95)",
        highlight=[n for n, v in result.verdicts.items() if v.word in ("faster", "slower")],
        intervals={name: (t.p50_ms, t.p95_ms) for name, t in timings.items()},
        limits={reference: timings[reference].p50_ms},
    )


@styled
def ledger(rows: Sequence[Row]) -> Figure:
    """The steps one after the other, relative to PyTorch; steps that pay are in colour, hatched.

    A step pays where, side by side with the step before it, it was measurably faster. Bars
    are factors measured in one run with PyTorch: milliseconds of different hours do not compare.
    """
    last, same = rows[-1], "PyTorch in the same run = 1"
    more, sooner = last.labelling.inverse().ratio, last.latency.inverse().ratio
    gained = f"{more:.1f} × the texts per second, {sooner:.1f} × faster"
    title = f"From {rows[0].step} to {last.step}: {gained}" if len(rows) > 1 else "The reference"
    fig, (upper, lower) = plots.figure(title, rows=2, size=(9, 2.4 + 1.1 * len(rows)))
    upper.set_xlabel(f"p50 latency, {same}; BERT-base shape 1 × 128 (less is better)")
    lower.set_xlabel(f"texts per second, {same}; fine-tuned classifier (more is better)")
    for row in rows:
        texts = row.labelling.inverse().ratio
        for axis, factor, value, verdict in (
            (upper, row.latency.ratio, f"{row.latency_ms:,.1f} ms", row.latency_verdict),
            (lower, texts, f"{row.texts_per_s:,.0f}/s", row.throughput_verdict),
        ):
            colour, hatch = (BLUE, "//") if verdict == "faster" else (GREY, "")
            axis.barh(row.step, factor, color=colour, hatch=hatch, edgecolor="white")
            note = f"{factor:.2f} × PyTorch  ({value})" if verdict != "reference" else value
            note += "" if verdict in ("faster", "reference") else f"  {verdict}"
            plots.label(axis, note, (factor, row.step), (6, 0), va="center")
    for axis in (upper, lower):
        axis.invert_yaxis()
        axis.margins(x=0.7)
    return fig


@styled
def factors(rates: Mapping[str, float], title: str, first: int) -> Figure:
    """How a rate grows from step to step, on a scale where equal factors have equal lengths.

    rates: what was done → texts per second; each step is added to those before it. first: how many
    steps after the beginning have a colour of their own.
    """
    fig, (axis,) = plots.figure(title, size=(9.5, 1.4 + 0.75 * len(rates)))
    (name, begin), *steps = rates.items()
    axis.plot(begin, name, "o", color=GREY, markersize=11)
    plots.label(axis, f"{begin:,.0f} a second", (begin, name), (10, 0), va="center")
    before = begin
    for place, (name, rate) in enumerate(steps):
        colour, hatch = (BLUE, "") if place < first else (ORANGE, "//")
        grown = rate - before
        axis.barh(name, grown, left=before, color=colour, hatch=hatch, edgecolor="white")
        axis.axvline(rate, color=GREY, linestyle=":", linewidth=1, zorder=0)
        told = f"× {rate / before:.2f}  ({rate:,.0f} a second)"
        plots.label(axis, told, (max(rate, before), name), (6, 0), va="center")
        before = rate
    axis.barh("all together", before - begin, left=begin, color="black", height=0.35)
    told, at = f"× {before / begin:.1f}", (before, "all together")
    plots.label(axis, told, at, (6, 0), va="center", fontweight="bold")
    axis.set(xscale="log", xlabel="texts per second; equal lengths are equal factors")
    axis.set_xlim(0.8 * begin, 6 * max(rates.values()))
    plots.plain_log_ticks(axis.xaxis, (1, 2, 5))
    axis.invert_yaxis()
    return fig
