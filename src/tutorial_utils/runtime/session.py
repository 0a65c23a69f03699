"""Open an ONNX Runtime session from a recipe. You get what you asked for, or an error says why."""

import contextlib
import ctypes
import functools
import io
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnxruntime as ort

from tutorial_utils.core import machine
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.runtime import huge_pages, memory, openvino

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_FIXES = {
    "cuda": 'Use a machine with an NVIDIA GPU and its driver, with pip install ".[gpu]" in the '
    "repository",
    "tensorrt": 'Use a machine with an NVIDIA GPU, with pip install ".[gpu]" in the repository and '
    "TensorRT",
    "coreml": "Use onnxruntime on macOS",
    "openvino": 'Use a machine with an Intel processor, with pip install ".[openvino]" in the '
    "repository",
}
LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
# Fusions that make our files slower. ONNX Runtime would apply them at load.
UNFUSED = ("SkipLayerNormFusion", "BiasGeluFusion")
# "1": products of unsigned and signed 8-bit numbers are exact but slower. Our default where fast
# ones saturate; elsewhere it would only cost time. "0": weights have 7 bits, so none saturates.
EXACT = "session.x64quantprecision"
# CUDA failure 35: CUDA driver version is insufficient …; CUBLAS failure 3: …; no kernel image is …
_DEVICE = re.compile(
    r"(CUDA|CUDNN|CUBLAS|CURAND)\w* (failure|error)[^;\n]*|no kernel image[^;\n]*", re.I
)
ERRORS_ONLY = 3  # ORT log severity; its C++ warnings go past Python's sys.stderr


class ProviderUnavailable(TutorialError, RuntimeError):
    """The execution provider asked for cannot run here; the message says why and what to do."""


@dataclass(frozen=True)
class SessionRecipe:
    """Everything that a session is opened with. Names follow ``onnxruntime.SessionOptions``.

    provider_options: what ONNX Runtime takes with the provider. Those of OpenVINO are in JSON under
    ``load_config``, see ``openvino``.
    threads: intra-op threads; 0 means one for each core this process may use.
    spinning: idle threads wait busily for the next operator. Faster on a free machine, slower on a
    shared one.
    disabled_optimizers: names of load-time graph rewrites to leave out.
    huge_pages: move weights to pages of 2 MB after loading, where the system has them.
    config: further ``add_session_config_entry`` pairs.
    """

    provider: str = "cpu"
    provider_options: dict[str, str] = field(default_factory=dict)
    threads: int = 0
    spinning: bool = True
    optimization: str = "all"
    disabled_optimizers: tuple[str, ...] = ()
    arena: bool = True
    memory_pattern: bool = True
    huge_pages: bool = False
    config: dict[str, str] = field(default_factory=dict)

    @property
    def slowed(self) -> bool:
        """Whether 8-bit products are exact at the cost of time here."""
        wanted = self.config.get(EXACT, "1") == "1"
        return wanted and self.provider == "cpu" and machine.saturates()

    @property
    def saturates(self) -> bool:
        """Whether 8-bit products are wrong here: OpenVINO, unlike the CPU provider, has no others.

        Not those of 7-bit weights, see ``made_here``.
        """
        fast = self.config.get(EXACT, "1") == "1" and self.provider == "openvino"
        return fast and machine.saturates()

    def options(self) -> ort.SessionOptions:
        """The recipe as ONNX Runtime's own options object."""
        options = ort.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = self.threads or machine.cores()
        options.inter_op_num_threads = 1
        options.graph_optimization_level = LEVELS[self.optimization]
        options.enable_cpu_mem_arena = self.arena
        options.enable_mem_pattern = self.memory_pattern
        spin = "1" if self.spinning else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spin)
        exact = {EXACT: "1"} if machine.saturates() else {}
        for key, value in (exact | self.config).items():
            options.add_session_config_entry(key, value)
        return options


def made_here(recipe: SessionRecipe) -> SessionRecipe:
    """The session of an INT8 file that ``graph.quantization`` wrote on this machine.

    Where products can saturate, its weights have 7 bits, and the fast ones are exact.
    """
    return replace(recipe, config=recipe.config | {EXACT: "0"}) if machine.saturates() else recipe


def open_session(
    path: Path | str,
    recipe: SessionRecipe = SessionRecipe(),
    options: ort.SessionOptions | None = None,
) -> ort.InferenceSession:
    """Open ``path`` with ``recipe``. options: those of the recipe by default.

    Raises:
        ProviderUnavailable: the provider does not run here. ONNX Runtime itself would use the CPU.
    """
    problem = provider_problem(recipe.provider)
    if problem is None:
        try:
            session = _open(path, recipe, options or recipe.options())
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            problem = device_failure(error)
            if recipe.provider == "cpu" or problem is None:
                raise
        else:
            running = session.get_providers()[0]
            if running == PROVIDERS[recipe.provider]:
                return session
            problem = f"ONNX Runtime opened the session on {running} instead"
    name = PROVIDERS.get(recipe.provider, recipe.provider)
    fix = _FIXES.get(recipe.provider, f"Choose one of {', '.join(PROVIDERS)}")
    raise ProviderUnavailable(
        f"{name} is not usable here: {problem}. {fix}, or choose the provider `cpu`."
    )


def device_failure(error: BaseException) -> str | None:
    """What CUDA or its libraries say in an error, as "CUDA failure 35: …"; None for other errors.

    Too little memory is handled elsewhere, see ``memory.is_allocation_failure``.
    """
    found = _DEVICE.search(str(error))
    return found[0].strip() if found and not memory.is_allocation_failure(error) else None


def provider_problem(provider: str) -> str | None:
    """Why a provider cannot run here, or None. Being listed by ONNX Runtime is not enough.

    ``onnxruntime-gpu`` lists CUDA and TensorRT on every machine; only loading the provider's
    library shows whether its dependencies are there.
    """
    if provider not in PROVIDERS:
        return f"there is no provider named {provider!r}"
    if provider == "openvino":
        return openvino.problem()
    if PROVIDERS[provider] not in ort.get_available_providers():
        return "this ONNX Runtime build does not contain it"
    if provider in ("cuda", "tensorrt"):
        _load_cuda()
    for library in Path(ort.__file__).parent.glob(f"capi/*onnxruntime_providers_{provider}*"):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            return str(error).split(": cannot open")[0] + " is missing"
    return None


@functools.cache
def _load_cuda() -> None:
    """Load the CUDA libraries that come with NVIDIA's packages or PyTorch, if there are any."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what is missing
        ort.preload_dlls()


def _open(
    path: Path | str, recipe: SessionRecipe, options: ort.SessionOptions
) -> ort.InferenceSession:
    disabled, given = list(recipe.disabled_optimizers), recipe.provider_options
    if recipe.provider == "openvino":
        given = openvino.options(given, recipe.threads or machine.cores())
    providers: list | None = [(PROVIDERS[recipe.provider], given)]
    if recipe.provider == "openvino" and (devices := openvino.devices()):
        options.add_provider_for_devices(devices, given)  # a plugin's are part of the options
        providers = None
    before = huge_pages.anonymous() if recipe.huge_pages else set()
    # ONNX Runtime would print an error of a device, and go on with the CPU.
    session = ort.InferenceSession(
        str(path), options, providers, disabled_optimizers=disabled, enable_fallback=0
    )
    if recipe.huge_pages:
        # Only what this session added: while a server loads a second version, moving the pages of
        # the first one would delay its answers.
        huge_pages.collapse(huge_pages.anonymous() - before)
    return session
