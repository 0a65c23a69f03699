"""Does the service last, and does each request get its end? Results go to ``results/soak.*``.

``python benchmarks/soak.py [chaos] [soak] [--minutes 30] [--requests 10000]``: the chaos
(``chaos.py``), then mixed load for so long, while memory, threads and open files of the server's
process are watched; both when none is named, and ``report`` to draw again what was measured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import chaos
import numpy as np
from common import RESULTS, write, write_figure, write_json
from load_servers import OURS, Server, answers, cores, end, free_port, on_core, published, started
from load_texts import bodies, long_texts, short_texts
from peer_targets import Target, table
from soak_watch import soak

from tutorial_utils import assets, figures, machine, reviews, steps
from tutorial_utils.registry import ModelForm, write_version

MAX_RSS = 0.03  # growth after the warm-up that counts as none


def run_chaos(requests: int) -> dict:
    """The storm against a service of the fp32 classifier, whose answers no batch changes."""
    with tempfile.TemporaryDirectory() as registry:
        tokenizer = assets.fetch(assets.ENCODER) / "tokenizer.json"
        file, made = steps.ensure("fused"), steps.recipe("fused")
        forms = [ModelForm(file, made)]
        write_version(Path(registry), "sentiment", forms, tokenizer, reviews.LABELS)
        port = free_port()
        command = [sys.executable, chaos.__file__, registry, str(port)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        server = Server(OURS, f"http://127.0.0.1:{port}/predict", process)
        try:
            if not answers(server):
                raise RuntimeError("The faulty service did not start; run chaos.py to see why.")
            start = time.perf_counter()
            ends = chaos.storm(server.url, short_texts()[:200], requests)
            took = time.perf_counter() - start
            return {
                "requests": requests,
                "took_s": took,
                "ends": dict(ends),
                "gauges": settled(server.url),
            }
        finally:
            end(process)


def settled(url: str, seconds: float = 5.0) -> dict[str, float]:
    """The gauges, when they are 0 or the time is over: who left last may have been noticed late."""
    until = time.monotonic() + seconds
    while any((found := chaos.gauges(url)).values()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def run_soak(minutes: float) -> dict:
    """Short and long texts, alone and together, against the tuned classifier."""
    generator, core = cores()
    mixed = bodies(1)[:100] + bodies(8)[:50] + [{"texts": [t]} for t in long_texts(400)[:10]]
    mixed += [{"texts": short_texts()[:32]}]
    with published() as folder, started(OURS, folder, core) as server, on_core(generator):
        watched = soak(server.url, server.process.pid, mixed, 60 * minutes)
    return {"minutes": minutes} | asdict(watched) | {"growth": watched.growth()}


def targets(found: dict) -> list[Target]:
    """Each target beside what was reached."""
    storm, growth = found["chaos"], found["soak"]["growth"]
    lost = storm["requests"] - sum(storm["ends"].values())
    bad = {e: n for e, n in storm["ends"].items() if e == "wrong" or e.startswith("unexpected")}
    waiting = sum(storm["gauges"].values())
    minutes = found["soak"]["minutes"]
    return [
        Target("chaos: requests without an end", "0", str(lost), lost == 0),
        Target("chaos: wrong answers, 5xx not injected", "0", str(sum(bad.values())), not bad),
        Target("chaos: gauges afterwards", "0", f"{waiting:g}", waiting == 0),
        *(
            Target(f"growth of {what} in {minutes:g} min", limit, reached, met)
            for what, limit, reached, met in (
                ("memory", f"at most {MAX_RSS:.0%}", f"{growth['rss']:+.1%}",
                 growth["rss"] <= MAX_RSS),
                ("threads", "0", f"{growth['threads']:+g}", growth["threads"] <= 0),
                ("open files", "0", f"{growth['files']:+g}", growth["files"] <= 0),
            )
        ),
    ]  # fmt: skip


def draw(found: dict) -> None:
    """Write ``soak.md`` and ``soak.png``."""
    minutes = np.array(found["soak"]["seconds"]) / 60
    rss = found["soak"]["rss_mb"]
    growth = found["soak"]["growth"]["rss"]
    title = f"After the warm-up the server's memory changes by {growth:+.1%}"
    fig, (above, below) = figures.figure(title, rows=2, size=(9, 6))
    above.plot(minutes, rss, color=figures.BLUE)
    above.set_ylabel("resident memory, MB")
    above.set_ylim(bottom=0)
    for name, style in (("threads", "-"), ("files", "--")):
        values = found["soak"][name]
        below.plot(minutes, values, style, color=figures.BLUE)
        below.annotate(
            "open files" if name == "files" else name, (minutes[-1], values[-1]),
            xytext=(8, 0), textcoords="offset points", va="center",
        )  # fmt: skip
    below.set_ylim(bottom=0)
    below.set_ylabel("number")
    below.set_xlabel("minutes")
    below.margins(x=0.15)
    above.margins(x=0.15)
    write_figure("soak", fig)
    alt = f"Memory, threads and open files of the server's process over the minutes. {title}."
    ends = sorted(found["chaos"]["ends"].items(), key=lambda pair: -pair[1])
    told = ", ".join(f"{count:,} {name}" for name, count in ends)
    answered = ", ".join(f"{n:,} × {s}" for s, n in sorted(found["soak"]["statuses"].items()))
    where = machine.Machine(**found["machine"])
    write(
        RESULTS / "soak.md",
        f"# Does the service last?\n\nMeasured by `make soak` on: {where}. The soak lasted "
        f"{found['soak']['minutes']:g} minutes.\n\n{table(targets(found)).markdown()}\n\n"
        f"Chaos, {found['chaos']['requests']:,} requests in {found['chaos']['took_s']:.0f} s: "
        f"{told}. Those *left* hung up; *poisoned* ones hold the text that breaks the model; "
        f"*refused* were told 429.\n\nSoak: {answered}; *left* hung up.\n\n![{alt}](soak.png)\n",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", default=["chaos", "soak"], metavar="chaos|soak|report")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args()
    here = machine.describe().to_dict()  # before any core is chosen
    file = RESULTS / "soak.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if "chaos" in options.stages:
        found["chaos"] = run_chaos(options.requests)
        print(found["chaos"], flush=True)
    if "soak" in options.stages:
        found["soak"] = run_soak(options.minutes)
        print(found["soak"]["statuses"], found["soak"]["growth"], flush=True)
    found["machine"] = here if options.stages != ["report"] else found["machine"]
    write_json("soak", found)
    if not {"chaos", "soak"} <= found.keys():
        return
    draw(found)
    if missed := [t.what for t in targets(found) if not t.met]:
        sys.exit(f"Missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
