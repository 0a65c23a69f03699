"""The report of the drift benchmark: tables and a figure."""

import numpy as np

from benchmarks.common import Folder
from tutorial_utils import plots
from tutorial_utils.core.tables import Table

MARKERS = {"length": "o", "vocabulary": "s", "confidence": "D", "labels": "^"}


def draw(found: dict, folder: Folder) -> None:
    """Write ``drift.md`` and ``drift.png``."""
    folder.write("drift.md", markdown(found))
    folder.save_figure("drift", figure(found))


def markdown(found: dict) -> str:
    alarms = found["false_alarms"]
    low, high = alarms["interval"]
    per = alarms["per_10000"]
    rows = [(feature, f"{per[feature]:.2f}") for feature in per if feature != "disagreement"]
    rows += [
        ("these together", f"{alarms['together']:.2f} [{low:.2f}, {high:.2f}]"),
        ("disagreement in shadow", f"{per['disagreement']:.2f}"),
        (
            f"the first three, tested at level {alarms['textbook_level']:g} at each check",
            f"{alarms['textbook']:.1f}",
        ),
    ]
    together = Table.of(("feature", "false alarms for 10,000 clean texts"), rows)
    delays = Table.of(
        ("texts are now", "F1", "first alarm", "raised by", *MARKERS),
        (_delay_row(name, by, found["f1"]) for name, by in found["delays"].items()),
    )
    shadow = Table.of(
        ("damage", "labels that differ", "F1", "disagreement", *MARKERS),
        (
            (
                name,
                f"{d['differ']:.1%}",
                f"{d['f1']:.3f}",
                *(_waiting(d["delays"][f]) for f in ("disagreement", *MARKERS)),
            )
            for name, d in found["shadow"].items()
        ),
    )
    cost = Table.of(
        ("texts", "microseconds each"), ((k, f"{v:.1f}") for k, v in found["cost"].items())
    )
    trials = len(next(iter(found["delays"].values()))["length"])
    return f"""# Drift

Measured by `make drift` on {_machine(found["machine"])}. The classifier was fine-tuned on movie
reviews. A profile is made from 1,000 other movie sentences. A window has 250 texts and is checked
every 10 texts.

![{ALT}](drift.png)

## False alarms
Measured on {alarms["texts"]:,} movie sentences, none of which is in its own profile. The target for
all features together is {alarms["target"]:g} for 10,000 texts. The last row shows the alarms of the
same windows if each check is a test at the usual significance level.

{together.markdown()}

INT8 and fp32 label {alarms["disagreement_share"]:.2%} of these sentences differently, which is less
than the profile tolerates.

## Texts until an alarm begins
The texts change after a full window of movie sentences. A number is the median over {trials} draws
of profile and texts, with the 90th percentile in brackets. If some draws raised no alarm within
1,000 texts, the table says how many did. F1 shows how good the answers are: drift means that texts
are different, not that answers are worse.

{delays.markdown()}

## A damaged INT8 model, fp32 in its shadow
Number of *texts that the shadow answers too* until disagreement raises an alarm. With a shadow
share of 10 %, ten times as many texts pass. The other columns are the features that need no shadow.

{shadow.markdown()}

## Cost
Cost in the observer's thread, by the number of texts that wait for it, and of an answer in the
engine's thread.

{cost.markdown()}
"""


ALT = (
    "Distance from the profile divided by its limit: below 1 for movies, far above 1 for Amazon, "
    "news and tweets, below 1 again afterwards; disagreement rises when the INT8 model is damaged."
)


def _machine(known: dict) -> str:
    return f"{known['processor']}, {known['cores']} cores, {known['system']}"


def _firsts(by: dict[str, list]) -> list:
    """For each draw, texts until the first alarm of any feature; None: no alarm."""
    draws = zip(*by.values(), strict=True)
    return [min((w for w in draw if w is not None), default=None) for draw in draws]


def _delay_row(name: str, by: dict[str, list], f1: dict[str, float]) -> tuple:
    first = {f: np.median([w if w is not None else np.inf for w in by[f]]) for f in by}
    who = min(first, key=first.get)
    score = f"{f1[name]:.3f}" if name in f1 else "–"
    return name, score, _waiting(_firsts(by)), who, *(_waiting(by[f]) for f in MARKERS)


def _waiting(waits: list) -> str:
    """Median and 90th percentile, or how many draws raised an alarm if some did not."""
    seen = [w for w in waits if w is not None]
    if len(seen) == len(waits):
        return f"{np.median(seen):.0f} ({np.quantile(seen, 0.9):.0f})"
    return f"{len(seen)} of {len(waits)}" if seen else "none"


def figure(found: dict):
    """Distances over time: all domains above, a damaged model below."""
    drawn, alarms = found["drawn"], found["false_alarms"]
    waits = [_firsts(found["delays"][domain]) for domain in ("amazon", "news", "tweets")]
    slowest = max(np.median([np.inf if w is None else w for w in each]) for each in waits)
    title = (
        f"A new domain is detected after about {slowest:.0f} texts, with "
        f"{alarms['together']:.1f} false alarms for 10,000"
    )
    fig, (above, below) = plots.figure(title, rows=2, size=(11, 8))
    every = drawn["every"]
    for (name, marker), colour in zip(MARKERS.items(), plots.PALETTE, strict=False):
        line = np.array(drawn["lines"][name], float)
        texts = np.arange(1, len(line) + 1) * every
        above.plot(texts, line, color=colour, marker=marker, markevery=12, label=name)
    start = 0
    for i, (name, length) in enumerate(drawn["parts"].items()):
        above.axvspan(start, start + length, color="black", alpha=0.05 * (i % 2))
        above.annotate(name, (start + length / 2, 0.97), xycoords=("data", "axes fraction"),
                       ha="center", va="top")  # fmt: skip
        start += length
    above.set_xlim(0, start)
    above.margins(y=0.15)
    above.set_ylabel("distance / limit")
    above.set_xlabel("texts")
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    after = drawn["damage"]["after"]
    line = np.array(drawn["lines"]["disagreement"], float)[: 2 * after // every]
    texts = np.arange(1, len(line) + 1) * every
    below.plot(texts, line, color=plots.PINK)
    below.axvline(after, color="black", linestyle=":")
    below.annotate(
        f" now damaged: {drawn['damage']['name']}", (after, 0.95),
        xycoords=("data", "axes fraction"), va="top",
    )  # fmt: skip
    below.set_xlim(0, 2 * after)
    below.set_ylabel("disagreement / limit")
    below.set_xlabel("texts that fp32 in the shadow labels too")
    for axis in (above, below):
        axis.axhline(1, color="black", linewidth=1, linestyle="--")
        axis.set_ylim(bottom=0)
    return fig
