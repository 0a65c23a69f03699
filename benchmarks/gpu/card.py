"""What the driver says of the GPU and of the processes on it."""

import re

from benchmarks.gpu.workers import Worker
from tutorial_utils.core.machine import smi


def card() -> dict[str, str]:
    """Name, driver and present state of the GPU (MiB, MHz, °C, W); {} where there is none."""
    fields = "name,driver_version,memory.total,clocks.sm,clocks.mem,temperature.gpu,power.draw"
    lines = smi(f"--query-gpu={fields}")
    return dict(zip(fields.split(","), lines[0], strict=True)) if lines else {}


def memory(workers: dict[str, Worker]) -> dict[str, int]:
    """MiB of GPU memory by candidate, as the driver counts a process (its context included)."""
    lines = smi("--query-compute-apps=pid,used_memory")
    used = {int(pid): int(mib) for pid, mib in lines if mib.strip().isdecimal()}
    return {n: used[w.process.pid] for n, w in workers.items() if w.process.pid in used}


def folder(of: dict[str, str]) -> str:
    """Name of a card's folder of results: "NVIDIA H100 80GB HBM3" is nvidia-h100-80gb-hbm3."""
    return "-".join(re.findall(r"[a-z0-9]+", of["name"].lower()))
