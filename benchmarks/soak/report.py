"""The soak's stored figures as Markdown and a figure."""

import numpy as np

from benchmarks.common import Folder, Target, target_table
from benchmarks.stages import notes
from tutorial_utils import plots
from tutorial_utils.core.machine import Machine

STAGES = ("chaos", "soak")
MAX_RSS = 0.03  # allowed growth of memory after the warm-up


def targets(found: dict) -> list[Target]:
    """Each target with the measured value; a stage that was not run has none."""
    lines = []
    if storm := found.get("chaos"):
        lost = storm["requests"] - sum(storm["ends"].values())
        bad = sum(n for e, n in storm["ends"].items() if e == "wrong" or e.startswith("unexpected"))
        waiting = sum(storm["gauges"].values())
        lines += [
            Target("chaos: requests without a result", "0", str(lost), lost == 0),
            Target("chaos: wrong answers, unexpected statuses", "0", str(bad), bad == 0),
            Target("chaos: texts and tokens waiting afterwards", "0", f"{waiting:g}", waiting == 0),
        ]
    if "soak" in found:
        growth, minutes = found["soak"]["growth"], found["soak"]["minutes"]
        for what, limit, style, most in (
            ("memory", f"at most {MAX_RSS:.0%}", "+.1%", MAX_RSS),
            ("threads", "0", "+g", 0),
            ("open files", "0", "+g", 0),
        ):
            grown = growth[{"memory": "rss", "open files": "files"}.get(what, what)]
            name = f"growth of {what} in {minutes:g} min"
            lines.append(Target(name, limit, f"{grown:{style}}", grown <= most))
    return lines


def draw(found: dict, folder: Folder) -> None:
    """Write ``soak.md`` and ``soak.png``."""
    parts = [
        f"# Soak test\n\nMeasured by `make soak` on: {Machine(**found['machine'])}.\n"
        + notes("soak", found, STAGES),
        target_table(targets(found)).markdown() + "\n",
    ]
    parts += [_chaos(found["chaos"])] if "chaos" in found else []
    parts += [_soak(found["soak"], folder)] if "soak" in found else []
    folder.write("soak.md", "\n".join(parts))


def _chaos(storm: dict) -> str:
    ends = sorted(storm["ends"].items(), key=lambda pair: -pair[1])
    told = ", ".join(f"{count:,} {name}" for name, count in ends)
    return (
        f"Chaos, {storm['requests']:,} requests in {storm['took_s']:.0f} s: {told}. *left*: the "
        "caller disconnected. *poisoned*: the request contained the text that makes the model "
        "fail. *refused*: the answer was 429.\n"
    )


def _soak(run: dict, folder: Folder) -> str:
    minutes = np.array(run["seconds"]) / 60
    title = f"After the warm-up the server's memory changes by {run['growth']['rss']:+.1%}"
    fig, (above, below) = plots.figure(title, rows=2, size=(9, 6))
    above.plot(minutes, run["rss_mb"], color=plots.BLUE)
    above.set_ylabel("resident memory, MB")
    for name, style in (("threads", "-"), ("files", "--")):
        below.plot(minutes, run[name], style, color=plots.BLUE)
        below.annotate(
            "open files" if name == "files" else name, (minutes[-1], run[name][-1]),
            xytext=(8, 0), textcoords="offset points", va="center",
        )  # fmt: skip
    below.set_ylabel("number")
    below.set_xlabel("minutes")
    for axis in (above, below):
        axis.set_ylim(bottom=0)
        axis.margins(x=0.15)
    folder.save_figure("soak", fig)
    answered = ", ".join(f"{n:,} × {s}" for s, n in sorted(run["statuses"].items()))
    alt = f"Memory, threads and open files of the server's process over time. {title}."
    told = f"Soak, {run['minutes']:g} minutes: {answered}. *left*: the caller disconnected."
    return f"{told}\n\n![{alt}](soak.png)\n"
