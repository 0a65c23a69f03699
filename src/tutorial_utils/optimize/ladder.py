"""The stages of ``optimize`` for a target, in order."""

from collections.abc import Callable

from tutorial_utils.optimize import providers
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.results import Found
from tutorial_utils.optimize.stages import (
    evaluate,
    export,
    fuse,
    protect,
    quantize,
    reference,
    to_fp16,
    tune,
)
from tutorial_utils.optimize.target import Target

Stage = Callable[[Job, Found], Found]
SMALLER: dict[str, tuple[Stage, ...]] = {
    "int8": (quantize, protect, to_fp16),
    "fp16": (to_fp16,),
}


def stages(target: Target) -> tuple[Stage, ...]:
    """The stages for a target. Each takes the results so far, and adds its own."""
    also = (providers.other_providers,) if target.also else ()
    return (reference, export, fuse, *SMALLER[target.precision], *also, tune, evaluate)
