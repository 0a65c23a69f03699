"""From texts per second on one core to cores, machines and cost: the tables of docs/scale-out.md.

Measured values are read from the results of this machine, or from the stored ones of ``--machine``.
Assumptions are flags; the page shows their defaults:

    python -m benchmarks.scale --price 0.03 --utilisation 0.5
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.common import STORED, Folder, run_folder
from tutorial_utils.core.machine import Machine
from tutorial_utils.core.tables import Table

LOADS = ((1_000, 4), (100_000, 32), (10_000_000, 64))  # texts per second, cores of a machine
TOKENS = 128  # of each text for BERT-base
HOURS = 730  # in a month
MULTIPLES = (10, 50, 100)  # prices of a GPU, in cores


@dataclass(frozen=True)
class Measured:
    """Throughput of one core: ``rate`` texts per second.

    source: the place in the results. machine: the one it was measured on. tokens: of each text, if
    all have the same number.
    """

    what: str
    rate: float
    source: str
    machine: Machine
    tokens: int | None = None


@dataclass(frozen=True)
class Plan:
    """Assumptions. utilisation: the planned share of a core's measured rate.

    spare: additional machines as a share of those needed, at least one.
    price: of a core for an hour, in any currency; an example, not an offer.
    bytes_a_text: over the network, request and response, with 32 texts a request.
    """

    utilisation: float = 0.6
    spare: float = 0.1
    price: float = 0.04
    bytes_a_text: int = 400

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise ValueError("utilisation must be above 0 and at most 1")
        if self.spare < 0 or self.price < 0:
            raise ValueError("spare and price must not be negative")


@dataclass(frozen=True)
class Size:
    """What a load needs. cores: without the spare ones. machines: including the spare ones."""

    texts_per_s: float
    cores: int
    machines: int
    machine_cores: int
    month: float

    @property
    def per_million(self) -> float:
        """Cost of a million texts if the load is always the planned one."""
        return self.month / (self.texts_per_s * 3600 * HOURS / 1e6)


def size(texts_per_s: float, machine_cores: int, texts_a_core: float, plan: Plan) -> Size:
    """Cores, machines and cost for a load."""
    cores = math.ceil(texts_per_s / (texts_a_core * plan.utilisation))
    working = math.ceil(cores / machine_cores)
    machines = working + max(1, math.ceil(working * plan.spare))
    month = machines * machine_cores * plan.price * HOURS
    return Size(texts_per_s, cores, machines, machine_cores, month)


def measured(folder: Folder) -> list[Measured]:
    """Stored texts per second and core, from text to label and for BERT-base at 8 × 128.

    The comparison with other tools is preferred, since it is the longer run.

    Raises:
        FileNotFoundError: nothing was measured yet.
    """
    results, peers = folder.read("results"), folder.read("peers")
    if "texts" not in results or "shapes" not in results:
        raise FileNotFoundError(f"{folder.path} has no results.json. Run `make bench` first.")
    found = []
    if "growth" in peers:
        where = peers["machine"]
        rate = statistics.median(run["texts_per_s"] for run in peers["growth"]["runs"])
        source = "peers.json, growth"
    else:
        where, rate = results["machine"], results["texts"]["timings"]["tuned"]["items_per_s"]
        source = "results.json, texts, tuned"
    what = "six-layer classifier, real sentences, text to label"
    found.append(Measured(what, rate / where["cores"], source, Machine(**where)))
    if "8 × 128" in peers.get("shapes", {}).get("comparisons", {}):
        where = peers["machine"]
        rate = peers["shapes"]["comparisons"]["8 × 128"]["timings"]["ours int8"]["items_per_s"]
        source = "peers.json, shapes, 8 × 128, ours int8"
    else:
        where, rate = (
            results["machine"],
            results["shapes"]["8x128"]["timings"]["int8"]["items_per_s"],
        )
        source = "results.json, shapes, 8x128, int8"
    what = f"BERT-base INT8, {TOKENS} tokens a text, ids to logits"
    found.append(Measured(what, rate / where["cores"], source, Machine(**where), TOKENS))
    return found


def served(folder: Folder) -> Table | None:
    """Results of ``ray_proxy``, or None: the service on one core, and behind Ray's proxy."""
    if not (found := folder.read("ray")):
        return None
    headers = ("on one core, over HTTP", "one text, p50 ms", "32 texts a request, texts/s")
    rows = [
        (name, _middle(found["single_ms"][name], ".1f"), _middle(rates, ",.0f"))
        for name, rates in found["texts_per_s"].items()
    ]
    machine = Machine(**found["machine"])
    return Table.of((*headers, "machine"), [(*row, machine.processor) for row in rows])


def tables(found: Sequence[Measured], plan: Plan, over_http: Table | None = None) -> str:
    """Measured values, assumptions and their result, in Markdown."""
    cores = Table.of(
        ("on one core", "texts/s", "tokens/s", "source", "machine"),
        [
            (m.what, f"{m.rate:,.1f}", f"{m.rate * m.tokens:,.0f}" if m.tokens else "–", m.source,
             f"{m.machine.processor}, {m.machine.cores} cores")
            for m in found
        ],
    )  # fmt: skip
    rows = []
    for m in found:
        for load, machine_cores in LOADS:
            s = size(load, machine_cores, m.rate, plan)
            rows.append((
                m.what.split(",")[0], f"{load:,}", f"{s.cores:,}",
                f"{s.machines:,} × {machine_cores}", f"{s.machines * machine_cores:,}",
                f"{load * plan.bytes_a_text * 8 / 1e9:,.3g}", f"{s.month:,.0f}",
                f"{s.per_million:,.3f}",
            ))  # fmt: skip
    headers = ("model", "texts/s", "cores needed", "machines", "cores paid", "Gbit/s")
    headers += ("cost per month", "cost per million texts")
    gpu = Table.of(
        ("price of the GPU", *(m.what.split(",")[0] for m in found)),
        [(f"{n} cores", *(f"{n * m.rate:,.0f} texts/s" for m in found)) for n in MULTIPLES],
    )
    measured_too = f"\n\n{over_http.markdown()}" if over_http else ""
    return TEXT.format(
        cores=cores.markdown() + measured_too,
        sizes=Table.of(headers, rows).markdown(),
        gpu=gpu.markdown(),
        plan=plan,
        hours=HOURS,
    )


TEXT = """Measured:

{cores}

Assumptions: each core runs at {plan.utilisation:.0%} of that rate. You have {plan.spare:.0%} more
machines than you need, and at least one spare. A text takes {plan.bytes_a_text} bytes on the
network, and a month has {hours} hours. The price of {plan.price} per core and hour, in any
currency, is **an example, not an offer**. All costs are proportional to it.

{sizes}

At the same utilisation, a GPU is cheaper than cores if it answers more than this:

{gpu}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__.splitlines()[0]
    )
    usual = Plan()
    parser.add_argument("--utilisation", type=float, default=usual.utilisation)
    parser.add_argument("--spare", type=float, default=usual.spare)
    parser.add_argument("--price", type=float, default=usual.price, help="of a core for an hour")
    parser.add_argument("--bytes-a-text", type=int, default=usual.bytes_a_text)
    parser.add_argument("--machine", help="a folder of benchmarks/results; default: this machine")
    options = vars(parser.parse_args(arguments))
    chosen = options.pop("machine")
    folder = Folder(STORED / chosen) if chosen else run_folder()
    print(tables(measured(folder), Plan(**options), served(folder)))


def _middle(values: Sequence[float], style: str) -> str:
    """The median, and the range of the turns."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{style}} [{low:{style}}, {high:{style}}]"
