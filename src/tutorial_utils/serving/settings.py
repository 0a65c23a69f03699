"""What the service can be told, by environment variables (``SERVE_…``) or by the caller."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Limits of the service. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", frozen=True, extra="forbid")

    registry: Path
    model: str = Field("sentiment", pattern=r"^[A-Za-z0-9][\w.-]{0,99}$")
    version: str = Field("latest", pattern=r"^(latest|[0-9]{1,9})$")
    fallback: str = Field("", pattern=r"^[0-9]{0,9}$")  # the version that steps in
    max_texts: int = Field(32, ge=1)  # in one request
    max_characters: int = Field(20_000, ge=1)  # in one text; the model reads 512 tokens of it
    max_body: int = Field(2_000_000, ge=1_000)
    max_waiting_texts: int = Field(256, ge=1)  # accepted and not yet answered
    deadline: float = Field(5.0, gt=0)  # after that a waiting request is answered with 504
    max_age: float = Field(0.25, gt=0)  # so long may shorter texts overtake a long one
    hang_after: float = Field(5.0, gt=0)  # a run of the model that takes longer is given up
    breaker_failures: int = Field(3, ge=1)  # of the model, in a row, before it is left alone
    breaker_cooldown: float = Field(5.0, gt=0)  # before it is tried again
