"""Settings of the service: flags, or environment variables (``SERVE_…``).

A flag wins over its variable: ``--max-texts 8`` over ``SERVE_MAX_TEXTS=16``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tutorial_utils.core.errors import TutorialError
from tutorial_utils.registry import check_name

LATEST = "latest"
PROGRAM = "python -m tutorial_utils serve"


class BadSettings(TutorialError, ValueError):
    """A setting is missing or out of range. The message names its flag and its variable."""


class Settings(BaseSettings):
    """Start the service for a registry of models. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", frozen=True, extra="forbid")

    registry: Path = Field(description="folder of models")
    model: Annotated[str, AfterValidator(check_name)] | None = Field(
        None, description="name of the model; not needed if there is only one"
    )
    version: str = Field(
        LATEST,
        pattern=r"^(latest|[0-9]{1,9})$",
        description="number of a version; latest follows the registry",
    )
    fallback: str = Field(
        "", pattern=r"^[0-9]{0,9}$", description="version that answers if this one fails"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="0 picks a free one")

    max_texts: int = Field(32, ge=1, description="texts in one request, at most")
    max_characters: int = Field(20_000, ge=1, description="characters in one text, at most")
    max_body: int = Field(2_000_000, ge=1_000, description="bytes in one request, at most")
    max_waiting_texts: int = Field(
        256, ge=1, description="texts accepted but not answered; more get 429"
    )
    deadline: float = Field(5.0, gt=0, description="a request that takes longer gets 504")
    max_age: float = Field(0.1, gt=0, description="how long short texts may overtake a long one")
    gpu_memory: int = Field(0, ge=0, description="bytes to use of a GPU; 0: all that is free")
    hang_after: float = Field(
        5.0, gt=0, description="time for one run of the model or tokenizer, at most"
    )
    breaker_failures: int = Field(3, ge=1, description="failures in a row that open the breaker")
    breaker_cooldown: float = Field(5.0, gt=0, description="time until the model is probed again")
    patience: float = Field(10.0, gt=0, description="time for a whole request to arrive, at most")

    watch: float = Field(2.0, ge=0, description="time between two looks at the registry; 0: never")
    canary: str = Field("", pattern=r"^[0-9]{0,9}$", description="version to try")
    canary_share: float = Field(
        0.0, ge=0, le=1, description="share of callers that the canary answers"
    )
    shadow_share: float = Field(
        0.0, ge=0, le=1, description="share of answers to compare with the canary's"
    )
    salt: str = Field("", max_length=100, description="change it to split callers differently")
    max_errors: float = Field(
        0.05, ge=0, le=1, description="errors of a canary above the stable version's, as a share"
    )
    min_agreement: float = Field(
        0.9, ge=0, lt=1, description="share of texts with the same answer, at least"
    )

    grace: float = Field(1.0, ge=0, description="time to keep serving after SIGTERM")
    drain: float = Field(6.0, ge=0, description="time for accepted requests after that, at most")
    admin_token: SecretStr | None = Field(None, description="enables /admin")
    log_format: str = Field("json", pattern="^(json|text)$", description="json or text")


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from flags over environment variables; ``--help`` prints them all and exits.

    Raises:
        BadSettings: one is missing or out of its range.
    """
    try:
        return Settings(
            _cli_parse_args=list(arguments),
            _cli_prog_name=PROGRAM,
            _cli_kebab_case=True,
            _cli_hide_none_type=True,
            _cli_show_env_vars=True,
        )
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_input=False, include_url=False):
            name = ".".join(map(str, problem["loc"]))
            flag, variable = name.replace("_", "-"), f"SERVE_{name.upper()}"
            problems.append(f"--{flag} (or {variable}): {problem['msg']}")
        raise BadSettings("; ".join(problems)) from None
