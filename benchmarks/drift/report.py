"""The drift benchmark's stored figures as tables and as a picture."""

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
            f"the first three, a test at {alarms['textbook_level']:g} each look",
            f"{alarms['textbook']:.1f}",
        ),
    ]
    together = Table.of(("feature", "false alarms on 10,000 clean texts"), rows)
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

Written by `make drift`; measured on {_machine(found["machine"])}. The classifier was fine-tuned on
movie reviews. A profile holds 1,000 others, a window 250 texts; a look is taken every 10.

![{ALT}](drift.png)

## False alarms
On {alarms["texts"]:,} movie sentences, none in the profile that it is held against; the target of
all features together is {alarms["target"]:g} on 10,000. The last row is what the same windows give
when each look is a test at a usual level.

{together.markdown()}

INT8 and fp32 label {alarms["disagreement_share"]:.2%} of these sentences differently; the alarm
tolerates more.

## Texts until an alarm begins
After a full window of movie sentences. Median over {trials} draws of profile and texts, in brackets
what nine draws in ten keep below; or how many draws were noticed at all, within 1,000 texts. F1 is
what the answers are worth there: drift tells that texts are other ones, not that answers are worse.

{delays.markdown()}

## A damaged INT8 model, fp32 in its shadow
Texts *that the shadow is asked for too* until disagreement raises an alarm; with a shadow share of
10 % ten times as many go by. The other columns are what the traffic shows without a shadow.

{shadow.markdown()}

## Cost
In the watching thread, by how many texts it finds waiting; and of an answer, in the model's thread.

{cost.markdown()}
"""


ALT = (
    "Distance from the profile over its limit: below 1 on movies, far above on Amazon, news and "
    "tweets, below again afterwards; disagreement rises when the INT8 model is damaged."
)


def _machine(known: dict) -> str:
    return f"{known['processor']}, {known['cores']} cores, {known['system']}"


def _firsts(by: dict[str, list]) -> list:
    """For each draw, texts until the first feature raised its alarm; None: none did."""
    draws = zip(*by.values(), strict=True)
    return [min((w for w in draw if w is not None), default=None) for draw in draws]


def _delay_row(name: str, by: dict[str, list], f1: dict[str, float]) -> tuple:
    first = {f: np.median([w if w is not None else np.inf for w in by[f]]) for f in by}
    who = min(first, key=first.get)
    score = f"{f1[name]:.3f}" if name in f1 else "–"
    return name, score, _waiting(_firsts(by)), who, *(_waiting(by[f]) for f in MARKERS)


def _waiting(waits: list) -> str:
    """Median and ninth decile; how many were noticed at all, where some were not."""
    seen = [w for w in waits if w is not None]
    if len(seen) == len(waits):
        return f"{np.median(seen):.0f} ({np.quantile(seen, 0.9):.0f})"
    return f"{len(seen)} of {len(waits)}" if seen else "none"


def figure(found: dict):
    """Distances over time: all domains above, a damaged model in shadow below."""
    drawn, alarms = found["drawn"], found["false_alarms"]
    waits = [_firsts(found["delays"][domain]) for domain in ("amazon", "news", "tweets")]
    slowest = max(np.median([np.inf if w is None else w for w in each]) for each in waits)
    title = (
        f"A new domain is noticed after some {slowest:.0f} texts, at "
        f"{alarms['together']:.1f} false alarms on 10,000"
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
    below.set_xlabel("texts that fp32 in shadow has labelled too")
    for axis in (above, below):
        axis.axhline(1, color="black", linewidth=1, linestyle="--")
        axis.set_ylim(bottom=0)
    return fig
