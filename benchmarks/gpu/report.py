"""What was found, as Markdown: ratios by round with their interval, and the distance to the roof."""

import math
from collections.abc import Sequence

import numpy as np
from tabulate import tabulate

EAGER = "PyTorch fp16"
MEASURES = {"device": "on the device", "host": "host to host"}


def ratio(times: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of the ratio by round, and its 95 % interval (Student's t on logarithms)."""
    from scipy import stats

    count = min(len(times), len(reference))
    logs = np.log(np.array(times[:count]) / np.array(reference[:count]))
    half = 0.0
    if count > 1:
        half = stats.t.ppf(0.975, count - 1) * logs.std(ddof=1) / math.sqrt(count)
    return tuple(float(np.exp(logs.mean() + shift)) for shift in (0.0, -half, half))


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
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    lines = ["# BERT-base on a GPU\n"]
    if cards and cards[0]:
        clocks = ", ".join(sorted({c["clocks.sm"] for c in cards[1:] if c})) or "not read"
        lines.append(
            f"{cards[0]['name']}, {cards[0]['memory.total']}, driver {cards[0]['driver_version']}; "
            f"SM clock between rounds: {clocks}."
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
    lines.append(
        "Seeded weights, the same in all candidates. *On the device*: mean of calls in a row, "
        "inputs and results stay there. *Host to host*: from token ids in NumPy to logits in NumPy, "
        "one call at a time, median. Both are medians over rounds in turn, a process per candidate. "
        "Ratios are geometric means by round with 95 % intervals (Student's t). *Of the floor*: the "
        "time that the ceilings allow over the time on the device."
    )
    return "\n\n".join(lines)


def targets(found: dict) -> str:
    """The two targets at 1 × 128, the best of ONNX Runtime's ways beside the best compiled one."""
    rounds = found["compiled"].get("1x128") or found["rounds"].get("1x128") or {}
    rows = []
    for measure, table in rounds.items():
        ours = best(table, "ONNX Runtime")
        compiled = best(table, "torch.compile")
        if ours and EAGER in table:
            row = [MEASURES[measure], ours, words(ratio(table[EAGER], table[ours]))]
            row += [words(ratio(table[ours], table[compiled])), compiled] if compiled else []
            rows.append(row)
    if not rows:
        return ""
    headers = ("1 × 128", "our best", "PyTorch fp16 over it (target: at least 3)")
    headers += ("it over the best torch.compile (target: at most 1.0)", "the best torch.compile")
    context = (
        "For context, from another card: TensorRT on an A100, 0.67 ms in FP16 and 0.58 ms in INT8 "
        "at 1 × 128, copies excluded (NVIDIA's published demo)."
    )
    return f"## Targets\n\n{table_of(headers, rows)}\n\n{context}"


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
    """Both measures of every candidate beside PyTorch in fp16."""
    names = dict.fromkeys(name for table in measures.values() for name in table)
    headers = ["candidate"]
    for word in MEASURES.values():
        headers += [f"{word}, ms", f"{EAGER} over it"]
    headers.append("of the floor")
    rows = []
    for name in names:
        row = [name]
        for measure in MEASURES:
            table = measures.get(measure, {})
            row.append(f"{np.median(table[name]):.3f}" if name in table else "–")
            both = name in table and EAGER in table
            row.append(words(ratio(table[EAGER], table[name])) if both else "–")
        device = measures.get("device", {}).get(name)
        if device and found.get("roof"):
            lowest, binding = floor(found["config"], shape, found["roof"])
            row.append(f"{lowest / np.median(device):.0%} ({binding})")
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
    mean = found["texts"]["mean tokens"]
    return (
        f"## Texts per second\n\nToken ids to logits, lengths as of sentences ({mean:.0f} tokens on "
        "average), sorted by length, padded to a multiple of 16, with a padding mask; one CUDA graph "
        f"for each shape.\n\n{table_of(('texts in a batch', *names), rows)}"
    )


def memory(found: dict) -> str:
    table = table_of(("candidate", "MiB of GPU memory"), list(found["memory"].items()))
    return f"## Memory\n\n{table}" if found["memory"] else ""


def kernels(found: dict) -> str:
    parts = []
    for name, seen in found["kernels"].items():
        rows = [
            (e["name"], f"{e['calls']:.0f}", f"{e['microseconds']:.1f}") for e in seen["costliest"]
        ]
        parts.append(
            f"### {name}\n\n{seen['kernels']:.0f} kernels, {seen['microseconds']:.0f} µs of kernel "
            f"time in a call.\n\n{table_of(('kernel', 'calls', 'µs'), rows)}"
        )
    return "\n\n".join(["## Kernels", *parts]) if parts else ""


def failures(found: dict) -> str:
    lines = [f"- {name}: {why.strip().splitlines()[-1]}" for name, why in found["failures"].items()]
    return "\n".join(["## Not measured\n", *lines]) if lines else ""


def words(interval: tuple[float, float, float]) -> str:
    middle, low, high = interval
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def table_of(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
