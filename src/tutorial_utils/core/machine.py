"""What this machine is; stored with every measurement."""

import functools
import importlib.metadata
import importlib.util
import math
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from tutorial_utils.core import cgroups
from tutorial_utils.core.errors import InvalidArgument

FEATURES = (
    "avx2", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm",
)  # fmt: skip
EXACT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}  # add products of 8-bit numbers in 32 bits
BF16 = {"avx512_bf16", "amx_bf16"}
X86 = ("x86_64", "amd64", "x86", "i386", "i686")
RUNTIMES = ("onnxruntime-gpu", "onnxruntime", "onnxruntime-openvino")
INIT = "onnxruntime/__init__.py"
VERSIONED = ("torch", "transformers", "onnx", "onnxruntime-ep-openvino")


@dataclass(frozen=True)
class Machine:
    """Processor, size and the library versions that a measurement depends on."""

    processor: str
    cores: int
    memory_gb: int
    features: tuple[str, ...]
    system: str
    versions: dict[str, str]

    def __str__(self) -> str:
        features = ", ".join(self.features) or "no vector extensions of note"
        size = f"{self.cores} cores, {self.memory_gb} GB"
        return f"{self.processor}, {size}, {self.system} ({features})"


@functools.cache
def describe() -> Machine:
    """Look at the machine once; later calls return the same object."""
    import cpuinfo  # takes a second on some systems, so only when asked

    info = cpuinfo.get_cpu_info()
    return Machine(
        processor=info.get("brand_raw", platform.machine()),
        cores=cores(),
        memory_gb=round(psutil.virtual_memory().total / 2**30),
        features=features(),
        system=platform.system(),
        versions=versions(),
    )


@functools.cache
def features() -> tuple[str, ...]:
    """Those of ``FEATURES`` that the processor has."""
    try:  # every session asks, so do not wait for py-cpuinfo where Linux says it
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        import cpuinfo

        words = set(cpuinfo.get_cpu_info().get("flags", ()))
    return tuple(name for name in FEATURES if name in words)


def gpus() -> str | None:
    """Names and drivers of NVIDIA's GPUs, as their tool prints them; None without it."""
    return "; ".join(", ".join(gpu) for gpu in smi("--query-gpu=name,driver_version")) or None


def smi(*asked: str) -> list[list[str]]:
    """Lines of ``nvidia-smi`` as fields; none where there is no GPU."""
    command = ["nvidia-smi", *asked, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.split(", ") for line in done.stdout.splitlines()]


def versions() -> dict[str, str]:
    """Installed versions of the libraries that a measurement depends on."""
    return {name: found for name in (*VERSIONED, *_runtimes()) if (found := version(name))}


def _runtimes() -> list[str]:
    """Packages of the ``onnxruntime`` that is imported: another one can be later on the path."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return []
    installed = [name for name in RUNTIMES if version(name)]
    files = {name: importlib.metadata.distribution(name).locate_file(INIT) for name in installed}
    return [name for name, file in files.items() if Path(str(file)) == Path(spec.origin)]


def cores() -> int:
    """Cores that this process may use (not those of the host it runs on).

    The fewer of those in its CPU affinity and those whose time its control groups grant, which is
    how containers are limited; a part of a core counts as one. ``TUTORIAL_CORES`` overrides both,
    for a share of the machine that the system does not know, as Ray's.
    """
    if setting := os.environ.get("TUTORIAL_CORES"):
        if not setting.isdecimal() or int(setting) == 0:
            raise InvalidArgument(
                f"TUTORIAL_CORES={setting!r}: give a whole number of cores, or unset it."
            )
        return int(setting)
    affinity = getattr(os, "sched_getaffinity", None)
    most = len(affinity(0)) if affinity else psutil.cpu_count(logical=False) or 1
    granted = cgroups.cores()
    return most if granted is None else min(most, math.ceil(granted))


@functools.cache
def is_intel() -> bool:
    """Whether the processor says that Intel made it."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        import cpuinfo

        return cpuinfo.get_cpu_info().get("vendor_id_raw") == "GenuineIntel"


def saturates() -> bool:
    """Whether fast products of unsigned and signed 8-bit numbers can be wrong here.

    x86 without VNNI or AMX adds two such products in 16 bits and clips the sum (``vpmaddubsw``).
    ARM adds in 32 bits, with or without its instructions for dot products.
    """
    return platform.machine().lower() in X86 and not EXACT_PRODUCTS & set(features())


def has_bf16() -> bool:
    """Whether the processor multiplies numbers in bf16; elsewhere fp32 is faster."""
    return not BF16.isdisjoint(features())


def version(package: str) -> str | None:
    """Installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
