"""The checks on a text, and the answers of ``/predict``, ``/embed`` and ``/info``."""

from typing import Annotated

from fastapi import Header
from pydantic import BaseModel

from tutorial_utils.serving.engine.backend import Backend
from tutorial_utils.serving.engine.metrics import STAGES
from tutorial_utils.serving.engine.request import Prediction
from tutorial_utils.serving.rollout.deployment import Deployment
from tutorial_utils.tasks import named

# For OpenAPI: a character that ``not_blank`` counts. Python has more white space than JavaScript.
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
PREDICT, EMBED = "/predict", "/embed"
TEXT, PAIR = "(text)", "(pair)"  # kinds of values; an error's place would have them as fields
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


class Answered(BaseModel):
    """Which version answered, and how long it took.

    truncated: positions of the texts that are longer than ``max_tokens`` of ``/info``. The model
    did not read them to the end.
    """

    model: str
    version: str
    fallback: bool
    truncated: list[int]
    timings_ms: Timings


class Predictions(Answered):
    """Answers in the order of the texts."""

    predictions: list[Answer] | list[Values]


class Embeddings(Answered):
    """Vectors in the order of the texts."""

    embeddings: list[list[float]]


ROUTES: dict[str, type[Answered]] = {PREDICT: Predictions, EMBED: Embeddings}


class Answering(BaseModel):
    """A form of a version that answers."""

    version: str
    provider: str
    precision: str

    @classmethod
    def of(cls, backend: Backend) -> "Answering":
        version, form = backend.model.manifest.version, backend.model.form
        return cls(version=version, provider=form.provider, precision=form.precision)


class Info(BaseModel):
    """The stable version, in the form that was opened. figures: measured at promotion.

    reads: ``text``, or ``pair`` for two texts at a time. answering: what answers for it now: the
    version itself, or its fallback after failures; null: nothing. watched: features that are
    watched for drift. withdrawn: versions still in use here, and no longer elsewhere.
    """

    model: str
    version: str
    task: str
    reads: str
    labels: list[str]
    provider: str
    precision: str
    steps: list[str]
    max_tokens: int
    figures: dict[str, float]
    versions: dict[str, str]
    created: str
    running: dict[str, str]
    follows_latest: bool
    answering: Answering | None
    watched: list[str]
    withdrawn: list[str]

    @classmethod
    def of(cls, deployment: Deployment, withdrawn: list[str]) -> "Info":
        stable = deployment.stable
        model, backend, observer = stable.model, stable.answering, stable.observer
        return cls(
            **vars(model.manifest),  # what has no field here is left out
            model=model.manifest.name,
            provider=model.form.provider,
            precision=model.form.precision,
            steps=list(model.recipe.steps),
            max_tokens=model.recipe.max_length,
            running=deployment.roles,
            follows_latest=deployment.follows,
            answering=backend and Answering.of(backend),
            watched=[*observer.monitor.state()] if observer else [],
            withdrawn=withdrawn,
        )


def kind_of(value: object) -> str | None:
    """``TEXT``, ``PAIR``, or None for what is neither."""
    if isinstance(value, list | tuple):
        return PAIR if len(value) == 2 else None
    return TEXT if isinstance(value, str) else None


def not_blank(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: it is empty or blank.
    """
    if not text.strip():
        raise ValueError("the text is empty")
    return text


def answered(prediction: Prediction) -> Predictions | Embeddings:
    """The answer of ``/predict`` or ``/embed``, as the task has it."""
    manifest = prediction.manifest
    task = named(manifest.task)
    told = [task.tell(row, manifest.labels) for row in prediction.probabilities]
    common = {
        "model": manifest.name,
        "version": manifest.version,
        "fallback": prediction.fallback,
        "truncated": list(prediction.truncated),
        "timings_ms": Timings(**{s: getattr(prediction, f"{s}_ms") for s in STAGES}),
    }
    if task.route == EMBED:
        return Embeddings(embeddings=[one["embedding"] for one in told], **common)
    return Predictions(predictions=told, **common)


def timing_headers(prediction: Prediction) -> dict[str, str]:
    """Milliseconds by stage; ``x-total-time`` is added to every answer by the outermost layer."""
    return {f"x-{stage}-time": f"{getattr(prediction, f'{stage}_ms'):.3f}" for stage in STAGES}
