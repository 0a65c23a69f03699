"""What is checked in a text, and what an answer of ``/predict`` tells."""

from typing import Annotated

from fastapi import Header
from pydantic import BaseModel

from tutorial_utils.serving.engine.metrics import STAGES
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.tasks import named

# For OpenAPI: a character that ``not_blank`` counts. Python has more white space than JavaScript.
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
Caller = Annotated[str | None, Header(max_length=256)]


class Answer(BaseModel):
    """One text's label with the probability of each."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Values(BaseModel):
    """One text's value of each target, by a regression."""

    values: dict[str, float]


class Timings(BaseModel):
    """Milliseconds in each stage."""

    queue: float
    tokenize: float
    inference: float


class Predictions(BaseModel):
    """Answers in the order of the texts, and which version gave them."""

    model: str
    version: str
    fallback: bool
    predictions: list[Answer] | list[Values]
    timings_ms: Timings


def not_blank(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: it is empty or blank.
    """
    if not text.strip():
        raise ValueError("the text is empty")
    return text


def predictions(prediction: Prediction) -> Predictions:
    """The answer of ``/predict``."""
    manifest = prediction.manifest
    task = named(manifest.task)
    answers = [task.tell(row, manifest.labels) for row in prediction.probabilities]
    return Predictions(
        model=manifest.name,
        version=manifest.version,
        fallback=prediction.fallback,
        predictions=answers,
        timings_ms=Timings(**{stage: getattr(prediction, f"{stage}_ms") for stage in STAGES}),
    )


def timing_headers(prediction: Prediction) -> dict[str, str]:
    """Milliseconds by stage; ``x-total-time`` is added to every answer by the outermost layer."""
    return {f"x-{stage}-time": f"{getattr(prediction, f'{stage}_ms'):.3f}" for stage in STAGES}
