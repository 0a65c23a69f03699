"""Simulate how often intervals contain the true ratio, and how often slow candidates pass the gate.

``python -m benchmarks.interval_coverage`` writes ``docs/measuring.md``. The noise is drawn from
distributions and from the residuals of the stored rounds: their log ratios minus each pair's mean.
The seed is fixed, so the same stored rounds give the same document.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from benchmarks.common import ROOT, STORED, comparisons
from tutorial_utils.bench.intervals import QUANTILE, RESOLUTION, Array, Ratio, student
from tutorial_utils.core import paths
from tutorial_utils.core.tables import Table
from tutorial_utils.optimize.gate import Limits, keeps_to

DOCUMENT = ROOT / "docs" / "measuring.md"
ROUNDS, DRAWS = (3, 5, 7, 11), 10_000
Draw = Callable[[np.random.Generator, int, int], Array]  # generator, draws, rounds → noise, mean 0


@dataclass(frozen=True)
class Residuals:
    """Noise of stored rounds: for each comparison, candidates × rounds of log ratios, mean 0."""

    tables: tuple[Array, ...]

    @classmethod
    def stored(cls, folder: Path = STORED) -> "Residuals":
        """Of all stored comparisons of at least five rounds, relative to their first candidate."""
        tables = []
        for file in sorted(folder.rglob("*.json")):
            for _, found in comparisons(json.loads(file.read_text(encoding="utf-8"))):
                times = np.log([found["rounds"][name] for name in found["timings"]])
                if times.shape[1] >= 5:
                    ratios = times[1:] - times[0]
                    tables.append(ratios - ratios.mean(axis=1, keepdims=True))
        return cls(tuple(tables))

    def spreads(self) -> Array:
        """Standard deviation of each pair's log ratio from round to round."""
        return np.concatenate([table.std(axis=1, ddof=1) for table in self.tables])

    def shapes(self) -> Array:
        """All residuals, each divided by its pair's standard deviation."""
        parts = [table / table.std(axis=1, ddof=1, keepdims=True) for table in self.tables]
        values = np.concatenate([part.ravel() for part in parts])
        scaled: Array = values / values.std()
        return scaled

    def neighbours(self) -> float:
        """Correlation of a pair's residuals with the next round's, averaged over pairs.

        Corrected for its bias in short series, -(1 + 3 r) / rounds (Kendall, *Note on bias in the
        estimation of autocorrelation*, 1954).
        """
        found = []
        for table in self.tables:
            rounds = table.shape[1]
            raw = (table[:, 1:] * table[:, :-1]).sum(axis=1) / (table**2).sum(axis=1)
            found += list((raw * rounds + 1) / (rounds - 3))
        return float(np.mean(found))

    def within(self, draw: np.random.Generator, draws: int, rounds: int) -> Array:
        """Draw from the residuals of one comparison at a time, equally often from each."""
        each = draws // len(self.tables)
        return np.concatenate([draw.choice(t.ravel(), (each, rounds)) for t in self.tables])

    def of_a_pair(self, draw: np.random.Generator, draws: int, rounds: int) -> Array:
        """Draw from the few residuals of one pair at a time."""
        return _few(draw, draws, rounds, [row for table in self.tables for row in table])

    def normal_of_a_pair(self, draw: np.random.Generator, draws: int, rounds: int) -> Array:
        """The same with normal values for each pair, to see the effect of having few values."""
        rows = [draw.normal(size=table.shape) for table in self.tables]
        return _few(draw, draws, rounds, [row - row.mean() for table in rows for row in table])


def _few(draw: np.random.Generator, draws: int, rounds: int, rows: list[Array]) -> Array:
    each = draws // len(rows)
    return np.concatenate([draw.choice(row, (each, rounds)) for row in rows])


def kinds(residuals: Residuals) -> dict[str, Draw]:
    """Kinds of noise for which at least 93 % of the intervals must contain the true ratio."""
    everything = np.concatenate([table.ravel() for table in residuals.tables])
    shapes = residuals.shapes()
    return {
        "normal": lambda draw, n, rounds: draw.normal(size=(n, rounds)),
        "Student's t, 3 degrees of freedom": lambda draw, n, rounds: draw.standard_t(
            3, (n, rounds)
        ),
        "Laplace": lambda draw, n, rounds: draw.laplace(size=(n, rounds)),
        "normal, one value in ten five times as large": _contaminated,
        "normal, correlation of 0.2 with the previous round": _correlated,
        "stored residuals, all": lambda draw, n, rounds: draw.choice(everything, (n, rounds)),
        "stored residuals, each pair scaled to 1": lambda draw, n, rounds: draw.choice(
            shapes, (n, rounds)
        ),
        "stored residuals, within a comparison": residuals.within,
    }


def hard_kinds(residuals: Residuals) -> dict[str, Draw]:
    """Kinds of noise for which the intervals miss that target."""
    return {
        "stored residuals, within a pair (5 to 11 values)": residuals.of_a_pair,
        "the same with normal values": residuals.normal_of_a_pair,
        "delays of only one candidate, in one round of ten": _one_sided,
    }


def _contaminated(draw: np.random.Generator, n: int, rounds: int) -> Array:
    far = np.where(draw.random((n, rounds)) < 0.1, 5.0, 1.0)
    return far * draw.normal(size=(n, rounds))


def _correlated(draw: np.random.Generator, n: int, rounds: int, by: float = 0.2) -> Array:
    noise = draw.normal(size=(n, rounds))
    noise[:, 1:] *= np.sqrt(1 - by**2)
    for i in range(1, rounds):
        noise[:, i] += by * noise[:, i - 1]
    return noise


def _one_sided(draw: np.random.Generator, n: int, rounds: int) -> Array:
    late = np.where(draw.random((n, rounds)) < 0.1, draw.exponential(5, (n, rounds)), 0)
    return draw.normal(size=(n, rounds)) + late - 0.5


def coverage(noise: Draw, rounds: int, quantile: float = QUANTILE, draws: int = DRAWS) -> float:
    """Share of intervals that contain the true mean, 0."""
    _, low, high = student(noise(np.random.default_rng(rounds), draws, rounds), quantile)
    return float(np.mean((low <= 0) & (high >= 0)))


def passed(true: float, spread: float, rounds: int, shapes: Array, draws: int = 2_000) -> float:
    """Share of candidates with the time ratio ``true`` that pass the gate's limit ``slower``.

    spread: standard deviation of a log ratio. shapes: residuals, scaled to 1.
    """
    noise = np.random.default_rng(rounds).choice(shapes, (draws, rounds))
    ends = np.exp(np.array(student(np.log(true) + spread * noise)))
    kept = [keeps_to(Ratio(*map(float, one)), Limits().slower) for one in ends.T]
    return sum(k is True for k in kept) / draws


def coverage_table(noises: dict[str, Draw]) -> Table:
    """Rows: kinds of noise. Columns: rounds. In brackets: with the quantile for 95 %."""
    rows = [
        (name, *(f"{coverage(n, r):.1%} ({coverage(n, r, 0.975):.1%})" for r in ROUNDS))
        for name, n in noises.items()
    ]
    return Table.of(("noise", *(f"{r} rounds" for r in ROUNDS)), rows)


def gate_table(residuals: Residuals) -> Table:
    """Rows: true ratios. Columns: spread of the rounds × number of rounds."""
    shapes, columns = residuals.shapes(), list(_columns(residuals))
    rows = [
        (f"{true:.2f} ×", *(f"{passed(true, spread, r, shapes):.0%}" for spread, r in columns))
        for true in (1.0, 1.03, 1.05, 1.08, 1.10, 1.15, 1.20)
    ]
    headers = [f"{spread:.1%}, {rounds} rounds" for spread, rounds in columns]
    return Table.of(("true time", *headers), rows)


def _columns(residuals: Residuals) -> Iterator[tuple[float, int]]:
    return itertools.product(np.percentile(residuals.spreads(), (50, 75)).round(3), (5, 7, 11))


def _width(rounds: int) -> float:
    """Width of the interval, in standard deviations of a round."""
    return float(stdtrit(rounds - 1, QUANTILE)) / rounds**0.5


def markdown(stored: Path = STORED) -> str:
    """The document, from the results stored in a folder."""
    residuals = Residuals.stored(stored)
    kept = sorted(stored.glob("*/aa.json"))
    return TEXT.format(
        pairs=len(residuals.spreads()),
        comparisons=len(residuals.tables),
        neighbours=residuals.neighbours(),
        level=2 * QUANTILE - 1,
        margin=RESOLUTION,
        slower=Limits().slower,
        bound=Limits().slower * (1 + RESOLUTION),
        coverage=coverage_table(kinds(residuals)).markdown(),
        hard=coverage_table(hard_kinds(residuals)).markdown(),
        gate=gate_table(residuals).markdown(),
        spreads=", ".join(f"{s:.1%}" for s in np.percentile(residuals.spreads(), (10, 50, 75, 90))),
        wider=_width(3) / _width(7),
        same_twice="\n".join(map(same_twice, kept)) or "Not measured yet.",
    )


def same_twice(file: Path) -> str:
    """Summary of a run that compared a candidate with itself (``benchmarks.aa``)."""
    found = json.loads(file.read_text(encoding="utf-8"))
    ratios = [Ratio(r["ratio"], r["low"], r["high"]) for r in found["runs"]]
    outside = sum(r.low > 1 or r.high < 1 for r in ratios)
    verdicts = sum(r.word != "no measurable difference" for r in ratios)
    furthest = max(ratios, key=lambda r: abs(np.log(r.ratio)))
    return (
        f"{file.parent.name}: {len(ratios)} runs of {found['rounds']} rounds. Intervals "
        f"without 1: {outside}. Verdicts: {verdicts}. Ratio furthest from 1: {furthest.cell}."
    )


TEXT = """# How times are compared

`python -m benchmarks.interval_coverage` writes this page from the stored rounds, with a fixed seed.

## The method

Each candidate runs in its own process. Candidates take turns: in each round, every candidate has
one turn, in random order, while all others are suspended. The result of a turn is the median time
of its calls per item. `Comparison.rounds` has one value for each candidate and round, in
milliseconds per item.

We compute ratios within a round. If the machine slows down for a while, it slows both candidates.
Each round gives the logarithm of one ratio. Their mean and its [interval](glossary.md#interval)
come from Student's t. With several workloads, we first average the logarithms within each round.
The milliseconds in a table are the geometric mean of the rounds' medians. So any two of them have
exactly the ratio that the table shows.

The verdict is *faster* or *slower* if the whole interval is outside 1 ± {margin:.0%}. Two processes
of the same candidate differ by about that much. To choose between candidates, the ratio is enough.
To claim a difference, we need the interval.

## How often the interval contains the true ratio

We call it a 95 % interval. Our target is that it contains the true ratio in at least 93 % of all
cases, with three rounds or more. Rounds are not quite independent: the correlation with the
previous round is {neighbours:.2f}. We found that in the stored runs, which have {pairs} pairs in
{comparisons} comparisons of five rounds or more. So we use the t quantile of a {level:.0%}
interval. The figures in brackets use the quantile for 95 %.

{coverage}

Two kinds of noise miss the target:

- Drawing with replacement from the rounds of one pair. There are few of them, so a draw often
  repeats the same values and looks free of noise. The second row shows how much of the loss comes
  from that.
- Rare delays that hit only one of the two candidates. They make its times skewed, and a symmetric
  interval doesn't cover that. You can see such delays as a tail in the candidate's
  [p95](glossary.md#p95).

{hard}

Intervals of three rounds are {wider:.1f} times as wide as those of seven, so `--quick` uses five.

## What passes the gate

A time passes the [gate](glossary.md#gate) if its whole interval is below the limit plus
{margin:.0%}. A version that is slower than that passes in at most 2 % of cases, however noisy the
machine is. The price of noise is that good versions are refused. If the limit is inside the
interval, the gate refuses and asks for more rounds. It checks each workload separately.

`optimize` asks the gate about up to four candidates, the fastest first. So the chance that any
slow one passes is at most four times as large. If noise is all that stands in the way of a
promotion, it measures once more with three times as many rounds. That doubles the chance at most.

The table shows how often a version passes when it is compared with the version before it. The
limit is {slower:.2f} ×, so the interval must end below {bound:.2f} ×. Each row is one true time of
the new version; in the first row, both are equally fast. Each column is a number of rounds and a
standard deviation of the ratio from round to round. The two deviations are the median and the upper
quartile of the stored pairs. Their 10th, 50th, 75th and 90th percentiles are {spreads}.

{gate}

## The same candidate twice

`python -m benchmarks.aa` compares a candidate with itself, 20 times, with fresh processes each time
(an [A/A test](glossary.md#aa-test)). About one interval in 20 may miss 1, and no run should give a
verdict.

{same_twice}
"""


if __name__ == "__main__":
    paths.write(DOCUMENT, markdown())
