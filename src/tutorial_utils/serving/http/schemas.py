"""What a request's texts must be, and what is told of an answer: the same on every route."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from tutorial_utils.serving.engine.engine import Prediction
from tutorial_utils.serving.settings import Settings

STAGES = ("queue", "tokenize", "inference")


class Answer(BaseModel):
    """One text's label with the probability of each."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Timings(BaseModel):
    """Milliseconds in each stage."""

    queue: float
    tokenize: float
    inference: float


class Predictions(BaseModel):
    """Answers in the order of the texts, and who gave them."""

    model: str
    version: str
    fallback: bool
    predictions: list[Answer]
    timings_ms: Timings


def request_model(settings: Settings) -> type[BaseModel]:
    """The body of ``/predict``, as narrow as the settings say."""
    text = Annotated[
        str,
        Field(max_length=settings.max_characters, json_schema_extra={"pattern": r"\S"}),
        AfterValidator(readable),
    ]

    class Texts(BaseModel):
        """Texts to label."""

        texts: Annotated[
            list[text],
            Field(min_length=1, max_length=settings.max_texts, examples=[["A joy from start."]]),
        ]

    return Texts


def readable(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: it is empty or blank, or no valid Unicode.
    """
    if not text.strip():
        raise ValueError("the text is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid Unicode (a lone surrogate)") from None
    return text


def predictions(prediction: Prediction) -> Predictions:
    """The answer of ``/predict``."""
    manifest = prediction.manifest
    answers = []
    for row in prediction.probabilities.tolist():
        best = max(range(len(row)), key=row.__getitem__)
        answers.append(
            Answer(
                label=manifest.labels[best],
                probability=row[best],
                probabilities=dict(zip(manifest.labels, row, strict=True)),
            )
        )
    times = {stage: getattr(prediction, f"{stage}_ms") for stage in STAGES}
    return Predictions(
        model=manifest.name,
        version=manifest.version,
        fallback=prediction.fallback,
        predictions=answers,
        timings_ms=Timings(**times),
    )


def timing_headers(prediction: Prediction) -> dict[str, str]:
    """Milliseconds by stage; ``x-total-time`` is added to every answer by the outermost layer."""
    return {f"x-{stage}-time": f"{getattr(prediction, f'{stage}_ms'):.3f}" for stage in STAGES}
