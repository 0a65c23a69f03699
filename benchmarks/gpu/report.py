"""What was found, as Markdown: ``python -m benchmarks.gpu.report FOLDER`` writes it again."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import paths
from tutorial_utils.core.tables import Table

EAGER, CAPTURED = "PyTorch fp16", "PyTorch fp16, CUDA graph"
MEASURES = {"device": "on the device", "host": "host to host"}
ABOUT = """Seeded weights, the same in all candidates; a process for each candidate.

- *On the device*: mean of calls in a row, whose inputs and results stay there.
- *Host to host*: from token ids in NumPy to logits in NumPy, one call at a time, median.
- Times are medians over rounds in turn; ratios are geometric means by round, with 95 % intervals
  (Student's t).
- *Of the floor*: what the measured ceilings allow in fp16, over the time on the device.
- PyTorch without a CUDA graph waits for the host's launches at these sizes, so its times say as
  much about the host as about the card; the same with a graph shows the card.
- Rows are not padded and no mask is given, except where a padding mask is named. transformers
  5.17 makes a mask of ones under a compiler or a capture, which keeps PyTorch's fast attention
  kernels away; here it does not, so that PyTorch is shown at its best.
- The compiled candidates choose their kernels by timing them while others do the same, so they
  choose differently each time; the best of them counts. Where two runs on one card are stored,
  ``gpu_1.md`` is the earlier one. On the H100 the best compiled candidate was ahead of ours there,
  and behind it in the later run."""
CONTEXT = (
    "For context, from another card: TensorRT on an A100, 0.67 ms in FP16 and 0.58 ms in INT8 at "
    "1 × 128, copies excluded (NVIDIA's published demo)."
)


def floor(config: dict, shape: str, roof: dict) -> tuple[float, str]:
    """Milliseconds below which fp16 cannot go at the measured ceilings, and which one binds.

    Operations: 2 for each weight of a matrix and token, and 4 × length × hidden for each token's
    attention. Bytes: each weight of a matrix once.
    """
    batch, length = (int(number) for number in shape.split("x"))
    hidden, inner = config.get("hidden_size", 768), config.get("intermediate_size", 3072)
    layers = config.get("num_hidden_layers", 12)
    matrices = layers * (4 * hidden**2 + 2 * hidden * inner)
    tokens = batch * length
    operations = tokens * (2 * matrices + layers * 4 * length * hidden)
    times = {
        "bytes": 1e3 * 2 * matrices / roof["bytes per second"],
        "operations": 1e3 * operations / roof["operations per second"],
    }
    binding = max(times, key=times.get)
    return times[binding], binding


def markdown(found: dict) -> str:
    parts = [heading(found), targets(found), parity(found)]
    for shape, measures in found["rounds"].items():
        parts.append(f"## {shape.replace('x', ' × ')}\n\n{timings(found, shape, measures)}")
    for key, title in (("steps", "What each step gives"), ("compiled", "Beside torch.compile")):
        for shape, measures in found[key].items():
            table = timings(found, shape, measures)
            parts.append(f"## {title}, {shape.replace('x', ' × ')}\n\n{table}")
    parts += [texts(found), memory(found), kernels(found), failures(found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(found: dict) -> str:
    machine, cards = found["machine"], found["card"]
    known = [(n, v) for n, v in machine["versions"].items() if v and n != "providers"]
    versions = ", ".join(f"{name} {v}" for name, v in known)
    lines = ["# BERT-base on a GPU"]
    if cards and cards[0]:
        clocks = ", ".join(sorted({c["clocks.sm"] for c in cards[1:] if c})) or "not read"
        lines.append(
            f"{cards[0]['name']}, {cards[0]['memory.total']} MiB, "
            f"driver {cards[0]['driver_version']}; SM clock between rounds: {clocks} MHz."
        )
    else:
        lines.append("No GPU: this run shows that the code works. Its times mean nothing.")
    lines.append(f"Host: {machine['processor']}, {machine['cores']} cores. {versions}.")
    if roof := found.get("roof"):
        lines.append(
            f"Measured ceilings: {roof['bytes per second'] / 1e12:.2f} TB/s (a large copy, bytes "
            f"read and written), {roof['operations per second'] / 1e12:.0f} · 10¹² fp16 operations "
            "per second (a product of 8192 × 8192 matrices)."
        )
    lines.append(ABOUT)
    return "\n\n".join(lines)


def targets(found: dict) -> str:
    """The two targets at 1 × 128, the best of ONNX Runtime's ways beside the best compiled one."""
    rounds = found["compiled"].get("1x128") or found["rounds"].get("1x128") or {}
    rows = []
    for measure, table in rounds.items():
        compiled = {n: times for n, times in table.items() if n.startswith("torch.compile")}
        own = {n: times for n, times in compiled.items() if "by hand" not in n}
        if (ours := best(table, "ONNX Runtime")) and EAGER in table:
            row = [MEASURES[measure], ours, ratio(table[EAGER], table[ours])]
            for others in (compiled, own):
                other = best(others, "torch.compile")
                row.append(f"{ratio(table[ours], others[other])}, {other}" if other else "–")
            rows.append(row)
    headers = ("1 × 128", "our best", "PyTorch fp16 over it (target: at least 3)")
    headers += ("it over the best torch.compile (target: at most 1.0)",)
    headers += ("… and over the best that makes its own CUDA graphs",)
    return f"## Targets\n\n{table_of(headers, rows)}\n\n{CONTEXT}" if rows else ""


def best(table: dict, beginning: str) -> str | None:
    """The candidate with the smallest median among those whose name begins like that."""
    names = [name for name in table if name.startswith(beginning)]
    return min(names, key=lambda name: float(np.median(table[name])), default=None)


def parity(found: dict) -> str:
    """The worst over all shapes, full rows and padded ones apart."""
    headers = ("candidate", "rows", "shapes", "state: max difference", "relative")
    headers += ("largest of the state agrees", "logits: max difference", "labels agree")
    groups: dict[tuple, list[dict]] = {}
    for row in found["parity"]:
        groups.setdefault((row["candidate"], row["padded"]), []).append(row)
    rows = [
        [
            name,
            "padded" if padded else "full",
            ", ".join(row["shape"] for row in seen),
            f"{max(row['state'] for row in seen):.4f}",
            f"{max(row['relative'] for row in seen):.1e}",
            f"{min(row['agreement'] for row in seen):.2%}",
            f"{max(row['logits'] for row in seen):.4f}",
            f"{min(row['labels'] for row in seen):.1%}",
        ]
        for (name, padded), seen in groups.items()
    ]
    return f"## Parity with PyTorch in fp32\n\n{table_of(headers, rows)}" if rows else ""


def timings(found: dict, shape: str, measures: dict) -> str:
    """Both measures of every candidate, beside PyTorch with and without a CUDA graph."""
    device, host = (measures.get(measure, {}) for measure in MEASURES)
    headers = ("candidate", "on the device, ms", "host to host, ms", f"{EAGER} over it, host")
    headers += (f"{CAPTURED} over it, device", "of the floor")
    lowest, binding = floor(found["config"], shape, found["roof"]) if found.get("roof") else (0, "")
    rows = []
    for name in dict.fromkeys([*device, *host]):
        row = [name]
        row += [f"{np.median(t[name]):.3f}" if name in t else "–" for t in (device, host)]
        for table, reference in ((host, EAGER), (device, CAPTURED)):
            both = name in table and reference in table
            row.append(ratio(table[reference], table[name]) if both else "–")
        known = name in device and lowest
        row.append(f"{lowest / np.median(device[name]):.0%} ({binding})" if known else "–")
        rows.append(row)
    return table_of(headers, rows)


def texts(found: dict) -> str:
    rates = found.get("texts", {}).get("rates")
    if not rates:
        return ""
    names = dict.fromkeys(name for by_name in rates.values() for name in by_name)
    rows = [
        [batch] + [f"{np.median(by_name[n]):,.0f}" if n in by_name else "–" for n in names]
        for batch, by_name in rates.items()
    ]
    about = (
        f"Token ids to logits, lengths as of sentences ({found['texts']['mean tokens']:.0f} tokens "
        "on average), sorted by length, padded to a multiple of 16, with a padding mask; one CUDA "
        "graph for each shape."
    )
    return f"## Texts per second\n\n{about}\n\n{table_of(('texts in a batch', *names), rows)}"


def memory(found: dict) -> str:
    table = table_of(("candidate", "MiB of GPU memory"), list(found["memory"].items()))
    return f"## Memory\n\n{table}" if found["memory"] else ""


def kernels(found: dict) -> str:
    parts = []
    for name, seen in found["kernels"].items():
        rows = [
            (e["name"][:80], f"{e['calls']:.0f}", f"{e['microseconds']:.1f}")
            for e in seen["costliest"]
        ]
        parts.append(
            f"### {name}\n\n{seen['kernels']:.0f} kernels, {seen['microseconds']:.0f} µs of kernel "
            f"time in a call.\n\n{table_of(('kernel', 'calls', 'µs'), rows)}"
        )
    return "\n\n".join(["## Kernels", *parts]) if parts else ""


def failures(found: dict) -> str:
    lines = [f"- {name}: {why.strip().splitlines()[-1]}" for name, why in found["failures"].items()]
    return "\n".join(["## Not measured\n", *lines]) if lines else ""


def ratio(times: Sequence[float], reference: Sequence[float]) -> str:
    """The ratio by round with its interval; without one where a run was cut in its first round."""
    rounds = min(len(times), len(reference))
    if rounds < 2:
        return f"{times[0] / reference[0]:.2f}"
    return Ratio.of_rounds(times[:rounds], reference[:rounds]).cell


def table_of(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return Table.of(headers, rows).markdown()


if __name__ == "__main__":
    for file in Path(sys.argv[1]).glob("gpu*.json"):
        with paths.replacing(file.with_suffix(".md")) as temporary:
            text = markdown(json.loads(file.read_text(encoding="utf-8")))
            temporary.write_text(text, encoding="utf-8")
