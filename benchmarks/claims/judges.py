"""Sixteen claims of popular recipes, in our words, each with its judge.

A judge turns measured figures into a verdict and a reason, so no verdict is written by hand. One
rule for all: a claim holds if the measurement is what it says. It holds in part if a value is
outside the range that it names, even on the better side, or if a part is missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tutorial_utils.bench.intervals import RESOLUTION, Ratio

HOLDS, IN_PART, DOES_NOT, NOT_TESTED = "holds", "holds in part", "does not hold", "not tested"
WORDS = (HOLDS, IN_PART, DOES_NOT, NOT_TESTED)
SAME_QUALITY = 0.005  # a smaller loss of F1 counts as none
Figures = dict[str, Any]
Judge = Callable[[Figures], tuple[str, str]]  # figures → one of WORDS, and the reason


@dataclass(frozen=True)
class Claim:
    """A claim in our words, the notebook that tests it live, and its judge."""

    lesson: str
    text: str
    judge: Judge


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim, as it is stored with the figures. word: one of WORDS."""

    claim: str
    lesson: str
    word: str
    reason: str


CLAIMS: dict[int, Claim] = {}


def claim(number: int, lesson: str, text: str) -> Callable[[Judge], Judge]:
    """Register the decorated function as the judge of a claim."""

    def register(judge: Judge) -> Judge:
        CLAIMS[number] = Claim(lesson, text, judge)
        return judge

    return register


def judge(number: int, figures: Figures) -> Verdict:
    """The verdict on a claim by its figures.

    Raises:
        KeyError: there is no such claim, or a figure is missing.
    """
    claimed = CLAIMS[number]
    return Verdict(claimed.text, claimed.lesson, *claimed.judge(figures))


def with_verdicts(figures: Mapping[str, Figures]) -> dict[str, dict]:
    """The content of ``claims.json``: figures by claim number, and the verdicts on them."""
    verdicts = {number: asdict(judge(int(number), given)) for number, given in figures.items()}
    return {"figures": dict(figures), "verdicts": verdicts}


def faster(ratio: dict[str, float]) -> bool:
    """Whether a stored ratio of times is a verdict *faster*."""
    return Ratio(**ratio).word == "faster"


def slower(ratio: dict[str, float]) -> bool:
    """Whether a stored ratio of times is a verdict *slower*."""
    return Ratio(**ratio).word == "slower"


def share(value: float) -> str:
    return f"{value:.0%}"


def times(ratio: dict[str, float]) -> str:
    return str(Ratio(**ratio))


def f1(difference: dict[str, float]) -> str:
    middle, low, high = (difference[k] for k in ("difference", "low", "high"))
    return f"F1 {middle:+.4f} [{low:+.4f}, {high:+.4f}]"


EXPORT, FUSION, QUANTIZATION = "01_export", "02_fusion", "03_quantization"
TUNING, SERVING, HARDWARE = "04_runtime_tuning", "05_serving", "08_hardware"


@claim(1, QUANTIZATION, "INT8 takes 40 to 60 % off PyTorch's latency, and no accuracy")
def _latency(x: Figures) -> tuple[str, str]:
    low, high = 1 - x["time"]["high"], 1 - x["time"]["low"]  # what it takes off
    inside, kept = low <= 0.6 and high >= 0.4, x["f1"]["low"] > -SAME_QUALITY
    more = low > 0.6
    word = HOLDS if inside and kept else IN_PART if inside or more or kept else DOES_NOT
    loss = "rules out" if kept else "does not rule out"
    more = ", a larger gain than claimed" if more else ""
    return word, (
        f"{times(x['time'])} of PyTorch{more}; {f1(x['f1'])}, which {loss} a loss above "
        f"{SAME_QUALITY}; same label for {x['agreement']:.1%}"
    )


@claim(2, EXPORT, "Constant folding removes 15 to 20 % of the nodes")
def _folding(x: Figures) -> tuple[str, str]:
    shares = [1 - x["folded"][i] / x["raw"][i] for i in (0, 1)]
    inside, reached = all(0.15 <= s <= 0.20 for s in shares), max(shares) >= 0.15
    return HOLDS if inside else IN_PART if reached else DOES_NOT, (
        f"folding alone removes {share(shares[0])} of {x['raw'][0]} nodes, or {share(shares[1])} "
        f"if you don't count `Constant` nodes; the whole optimizer leaves {x['optimized'][0]}"
    )


@claim(3, EXPORT, "Opset 17 is the best one for optimisation")
def _opset(x: Figures) -> tuple[str, str]:
    nodes, seventeen, newest = x["nodes"], x["17 to 18"], x["17 to 23"]
    word = HOLDS if faster(seventeen) and faster(newest) else DOES_NOT
    return word, (
        f"it has {nodes['17']} nodes, opset 18 has {nodes['18']}, and opset 23 has {nodes['23']}; "
        f"it takes {times(seventeen)} of opset 18, and {times(newest)} of opset 23"
    )


@claim(4, FUSION, "All six fusions apply to a freshly exported BERT")
def _fusions(x: Figures) -> tuple[str, str]:
    today = [name for name, count in x["today"].items() if not count]
    before = [name for name, count in x["deprecated"].items() if not count]
    text = "with today's exporter, " + (f"no {' and no '.join(today)}" if today else "all apply")
    text += "; with the deprecated one and eager attention, " + (
        f"no {' and no '.join(before)}" if before else "all that are left to fuse"
    )
    return (DOES_NOT if today else HOLDS), text


@claim(5, FUSION, "Level 99, saved beforehand, is the best choice")
def _level(x: Figures) -> tuple[str, str]:
    plain, ours = x["saved to plain"], x["saved to ours"]
    word = HOLDS if faster(plain) and ours["low"] < 1 else IN_PART if faster(plain) else DOES_NOT
    return word, (
        f"{times(plain)} of the plain file, which is optimised at load, and {times(ours)} of our "
        f"fused file; {x['attention'] or 'no'} attentions are fused"
    )


@claim(6, QUANTIZATION, "Per channel with reduced range keeps accuracy within 0.5 %")
def _reduced(x: Figures) -> tuple[str, str]:
    low, middle = x["f1"]["low"], x["f1"]["difference"]
    word = HOLDS if low > -SAME_QUALITY else IN_PART if middle > -SAME_QUALITY else DOES_NOT
    return word, (
        f"{f1(x['f1'])}; same label for {x['agreement']:.1%}, and for {x['full range']:.1%} with "
        "the full range"
    )


@claim(7, QUANTIZATION, "Quantizing MatMul, Add and Gemm makes the file four times smaller")
def _size(x: Figures) -> tuple[str, str]:
    ratio = x["fp32"] / x["listed"]
    return (HOLDS if ratio >= 3.9 else DOES_NOT), (
        f"{ratio:.1f} × smaller ({x['listed']:.0f} of {x['fp32']:.0f} MB at the BERT-base shape); "
        f"{x['fp32'] / x['ours']:.1f} × if attention and embeddings are quantized too"
    )


@claim(8, HARDWARE, "CUDA graphs and cuDNN's search are options of the session")
def _session_options(x: Figures) -> tuple[str, str]:
    accepted = [name for name, taken in x["attributes"].items() if taken]
    if len(accepted) == len(x["attributes"]):
        return HOLDS, "`SessionOptions` has attributes of these names"
    word = IN_PART if accepted else DOES_NOT
    names = ", ".join(x["attributes"])
    text = f"`SessionOptions` has {len(accepted) or 'none'} of these attributes: {names}"
    if x["any text is accepted"]:
        text += ". As config entries they are accepted and ignored, like any invented name"
    return word, f"{text}. They belong to the CUDA provider"


@claim(9, HARDWARE, "`get_device()` says whether a GPU is used")
def _device(x: Figures) -> tuple[str, str]:
    said, runs = x["get_device"], x["providers"][0]
    if (said == "GPU") != (runs == "CUDAExecutionProvider"):
        return DOES_NOT, f"it says {said}, but a session that was asked for CUDA runs on {runs}"
    return NOT_TESTED, f"it says {said}, and the session runs on {runs}: no contradiction here"


@claim(10, HARDWARE, "An INT8 model runs on TensorRT with FP16 on and INT8 off")
def _tensorrt(x: Figures) -> tuple[str, str]:
    return NOT_TESTED, (
        f"TensorRT cannot run here ({x['problem']}). TensorRT reads activations in Q/DQ form, and "
        f"the dynamic INT8 file has {x['QuantizeLinear'] or 'none'}"
    )


@claim(11, TUNING, "Each inference call needs a warm-up run inside it")
def _warmup(x: Figures) -> tuple[str, str]:
    needed = not x["same answer"] or not slower(x["time"])
    answer = "the same" if x["same answer"] else "a different"
    return (HOLDS if needed else DOES_NOT), (
        f"a call with its own warm-up gives {answer} answer in {times(x['time'])}. The advice is "
        "for CUDA graphs, which cannot run here; they too need one warm-up only"
    )


@claim(12, TUNING, "Padding each request to 128 tokens does no harm")
def _padding(x: Figures) -> tuple[str, str]:
    return (DOES_NOT if slower(x["time"]) else HOLDS), (
        f"{share(x['waste'])} of the computed tokens are padding (mean length "
        f"{x['mean length']:.0f}); {times(x['time'])} that the texts need at their own length"
    )


@claim(13, TUNING, "1000 / mean latency is the throughput")
def _throughput(x: Figures) -> tuple[str, str]:
    factors = {int(batch): factor for batch, factor in x["factor"].items()}
    right = [batch for batch, factor in factors.items() if abs(factor - 1) < 0.05]
    word = HOLDS if len(right) == len(factors) else IN_PART if right else DOES_NOT
    told = ", ".join(f"{f:.1f} × at a batch of {batch}" for batch, f in factors.items())
    return word, f"the true texts per second are a multiple of that value: {told}"


@claim(14, TUNING, "Arena and memory pattern reduce memory")
def _arena(x: Figures) -> tuple[str, str]:
    least = x["neither"] * (1 - RESOLUTION)
    lower = [name for name in ("arena", "pattern", "both") if x[name] < least]
    word = HOLDS if "both" in lower else IN_PART if lower else DOES_NOT
    told = ", ".join(f"{name} {x[name]:.0f}" for name in ("neither", "pattern", "arena", "both"))
    return word, f"peak MB when shapes change: {told}"


@claim(15, SERVING, "An async endpoint that runs the model inline serves callers concurrently")
def _inline(x: Figures) -> tuple[str, str]:
    blocked = x["inline ms"] > 0.5 * x["model ms"]
    return (DOES_NOT if blocked else HOLDS), (
        f"a health check beside it takes {x['inline ms']:.0f} ms (p95), and one run of the model "
        f"{x['model ms']:.0f} ms. With the model in its own thread, the check takes "
        f"{x['thread ms']:.0f} ms"
    )


@claim(16, SERVING, "The exception's text with status 500 is proper error handling")
def _leak(x: Figures) -> tuple[str, str]:
    leaks, wrong = bool(x["leaks"]), x["status"] >= 500
    told = f"a caller with a bad request gets {x['status']}"
    told += f", and learns this about the server: {', '.join(x['leaks'])}" if leaks else ""
    return (DOES_NOT if leaks or wrong else HOLDS), told
