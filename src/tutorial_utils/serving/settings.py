"""What the service can be told, by environment variables (``SERVE_…``) or by the caller."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

LATEST = "latest"


class Settings(BaseSettings):
    """Limits of the service. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", frozen=True, extra="forbid")

    registry: Path
    model: str = Field("sentiment", pattern=r"^[A-Za-z0-9][\w.-]{0,99}$")
    version: str = Field(LATEST, pattern=r"^(latest|[0-9]{1,9})$")  # a number stays
    fallback: str = Field("", pattern=r"^[0-9]{0,9}$")  # the version that steps in
    max_texts: int = Field(32, ge=1)  # in one request
    max_characters: int = Field(20_000, ge=1)  # in one text; the model reads 512 tokens of it
    max_body: int = Field(2_000_000, ge=1_000)
    max_waiting_texts: int = Field(256, ge=1)  # accepted and not yet answered
    deadline: float = Field(5.0, gt=0)  # after that a waiting request is answered with 504
    patience: float = Field(10.0, gt=0)  # for the bytes of one request to arrive
    max_age: float = Field(0.25, gt=0)  # so long may shorter texts overtake a long one
    hang_after: float = Field(5.0, gt=0)  # a run of the model that takes longer is given up
    breaker_failures: int = Field(3, ge=1)  # of the model, in a row, before it is left alone
    breaker_cooldown: float = Field(5.0, gt=0)  # before it is tried again

    watch: float = Field(2.0, ge=0)  # between two looks into the registry; 0: none
    canary: str = Field("", pattern=r"^[0-9]{0,9}$")  # a version to try beside the stable one
    canary_share: float = Field(0.0, ge=0, le=1)  # of the callers that a candidate answers
    shadow_share: float = Field(0.0, ge=0, le=1)  # of the answers that it is asked for too
    salt: str = Field("", max_length=100)  # another one divides the callers anew
    trial: int = Field(200, ge=1)  # last answers that a candidate is judged by
    trial_least: int = Field(20, ge=1)  # answers before it is judged at all
    max_errors: float = Field(0.05, ge=0, le=1)  # share above the stable version's
    min_agreement: float = Field(0.9, ge=0, le=1)  # share of texts labelled alike

    grace: float = Field(1.0, ge=0)  # serving on after SIGTERM, while not ready
    drain: float = Field(6.0, ge=0)  # then, at most, for what was accepted
    admin_token: SecretStr | None = None  # opens /admin to who sends it
    log_format: str = Field("json", pattern="^(json|text)$")
