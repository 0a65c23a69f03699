"""Will this machine run the course? Each check does a little real work and names the fix."""

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tutorial_utils.core import machine, paths
from tutorial_utils.data import assets

PYTHON = (3, 11)
MEMORY_GB, DISK_GB = 6, 6
ESSENTIAL = ("torch", "transformers", "onnx", "onnxscript", "tokenizers", "numpy")
Found = tuple[str, str, str]  # level, what was found, how to fix it
_ONEDNN_FIX = (
    "Set ONEDNN_MAX_CPU_ISA=AVX10_1_512 before you use bf16 in PyTorch: this machine names matrix "
    "units (AMX) that its virtual machine does not fully offer. ONNX Runtime is not concerned."
)


@dataclass(frozen=True)
class Check:
    """One result. level: OK, WARN (the course runs, with something less) or FAIL."""

    name: str
    level: str
    found: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.level:<4}  {self.name}: {self.found}"
        return text + (f"\n      → {self.fix}" if self.fix else "")


def run() -> list[Check]:
    """All checks; one that raises counts as FAIL and does not stop the others."""
    results = []
    for name, check in CHECKS.items():
        try:
            level, found, fix = check()
        except Exception as error:
            level, found = "FAIL", f"{type(error).__name__}: {error}"
            fix = "Run `make lab` (or the README's three commands) to install what is missing."
        results.append(Check(name, level, found, fix if level != "OK" else ""))
    return results


def passed(results: list[Check]) -> bool:
    """Whether no check failed."""
    return all(check.level != "FAIL" for check in results)


def _interpreter() -> Found:
    found = f"Python {platform.python_version()}"
    fix = "Make it with Python 3.11: `conda env create`, or PYTHON=python3.11 make lab."
    return ("OK" if sys.version_info[:2] == PYTHON else "FAIL"), found, fix


def _kernel() -> Found:
    from jupyter_client.kernelspec import KernelSpecManager

    command = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    # Jupyter replaces a bare `python` by the interpreter that it runs under.
    same = not command.is_absolute() or command.parent == Path(sys.executable).parent
    fix = "Run `python -m ipykernel install --sys-prefix` in this environment."
    found = f"python3 runs {'this' if same else 'another'} interpreter"
    return ("OK" if same else "FAIL"), found, fix


def _versions() -> Found:
    wanted = constraints()
    if missing := [name for name in ESSENTIAL if not machine.version(name)]:
        return "FAIL", f"missing: {', '.join(missing)}", "Run `make lab` to install them."
    wrong = []
    for name in sorted({*ESSENTIAL, "onnxruntime-gpu", "onnxruntime"} & wanted.keys()):
        version = machine.version(name)
        if version and version.split("+")[0] != wanted[name]:
            wrong.append(f"{name} {version} (tested: {wanted[name]})")
    fix = "Results may differ. `pip install -c constraints.txt` gives the tested versions."
    same = "as in constraints.txt" if wanted else "no constraints.txt to compare with"
    return ("WARN" if wrong else "OK"), "; ".join(wrong) or same, fix


def constraints() -> dict[str, str]:
    """Tested versions by package name; empty away from the repository."""
    file = paths.repository() / "constraints.txt"
    text = file.read_text() if file.exists() else ""
    return dict(re.findall(r"^([\w.-]+)==([^\s;#]+)", text, re.MULTILINE))


def _one_onnxruntime() -> Found:
    """Two builds write to the same folder: the last one overwrites parts of the other."""
    names = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    builds = sorted(n for n in names if re.fullmatch(r"onnxruntime(-gpu|-openvino|-directml)?", n))
    keep = "onnxruntime" if sys.platform == "darwin" else "onnxruntime-gpu"
    fix = f"`pip uninstall -y {' '.join(builds)}`, then `pip install -c constraints.txt {keep}`"
    return ("OK" if len(builds) == 1 else "FAIL"), " and ".join(builds) or "none", fix


def _inference() -> Found:
    import onnxruntime
    import torch

    from tutorial_utils.graph.export import quiet_exporter

    given, layer = torch.ones(2, 4), torch.nn.Linear(4, 3).eval()
    with quiet_exporter(), warnings.catch_warnings(action="ignore"):
        exported = torch.onnx.export(layer, (given,), dynamo=True, verbose=False)
    assert exported is not None  # as it is for `dynamo=False`
    model = exported.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
    off = abs(answer - layer(given).detach().numpy()).max()
    return ("OK" if off < 1e-5 else "FAIL"), f"a tiny model, off by {off:.0e}", "Reinstall torch."


def _providers() -> Found:
    from tutorial_utils.runtime.session import PROVIDERS, provider_problem

    problems = {name: provider_problem(name) for name in PROVIDERS}
    usable = [name for name, problem in problems.items() if problem is None]
    reasons = [f"{n}: {p}" for n, p in problems.items() if p and "does not contain" not in p]
    found = f"load: {', '.join(usable)}" + (f"; not ({'; '.join(reasons)})" if reasons else "")
    return ("OK" if "cpu" in usable else "FAIL"), found, "Reinstall ONNX Runtime."


def _openvino() -> Found:
    """The plugin is for Intel processors, and nobody has to have it."""
    from tutorial_utils.runtime.session import provider_problem

    if provider_problem("openvino") is None:
        found = "`optimize` tries its provider as well"
    elif machine.is_intel():
        found = "optional; it often makes INT8 faster on this processor: `make openvino` adds it"
    else:
        found = "not needed: its plugin is for Intel processors"
    return "OK", found, ""


def _processor() -> Found:
    fix = "INT8 will gain little or nothing here: notebook 03 shows how to see it."
    found = ", ".join(machine.features()) or "none of note"
    return ("WARN" if machine.saturates() else "OK"), found, fix


def _bf16() -> Found:
    """In a process of its own: an instruction that the machine lacks ends it."""
    code = "import torch; a = torch.ones(64, 384).bfloat16(); torch.nn.functional.linear(a, a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    found = "PyTorch multiplies" if done.returncode == 0 else f"PyTorch ends ({done.returncode})"
    return ("OK" if done.returncode == 0 else "WARN"), found, _ONEDNN_FIX


def _memory() -> Found:
    free = psutil.virtual_memory().available / 2**30
    return ("OK" if free >= MEMORY_GB else "FAIL"), f"{free:.0f} GB free", f"Free {MEMORY_GB} GB."


def _disk() -> Found:
    free = shutil.disk_usage(paths.home()).free / 2**30
    fix = f"Free {DISK_GB} GB, or set TUTORIAL_HOME to a folder on a larger disk."
    return ("OK" if free >= DISK_GB else "FAIL"), f"{free:.0f} GB free for artifacts", fix


def _assets() -> Found:
    missing = [a.name for a in (assets.ENCODER, assets.SENTENCES) if not assets.present(a)]
    found = f"not here yet: {', '.join(missing)}" if missing else "fetched and verified"
    fix = "Run `python -m tutorial_utils prepare` with a network."
    return ("WARN" if missing else "OK"), found, fix


CHECKS: dict[str, Callable[[], Found]] = {
    "interpreter": _interpreter,
    "kernel": _kernel,
    "versions": _versions,
    "one ONNX Runtime": _one_onnxruntime,
    "export and inference": _inference,
    "providers": _providers,
    "OpenVINO": _openvino,
    "processor features": _processor,
    "bf16 in PyTorch": _bf16,
    "memory": _memory,
    "disk": _disk,
    "assets": _assets,
}
