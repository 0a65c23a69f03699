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
    """A setting is missing or out of its range; the message names it, its flag and its variable."""


class Settings(BaseSettings):
    """Start the service over a registry of models. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", frozen=True, extra="forbid")

    registry: Path = Field(description="folder of models")
    model: Annotated[str, AfterValidator(check_name)] | None = Field(
        None, description="its name; not needed where there is only one"
    )
    version: str = Field(
        LATEST, pattern=r"^(latest|[0-9]{1,9})$", description="a number stays; latest follows"
    )
    fallback: str = Field("", pattern=r"^[0-9]{0,9}$", description="answers when that one cannot")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="0: any free one")

    max_texts: int = Field(32, ge=1, description="texts in one request")
    max_characters: int = Field(20_000, ge=1, description="of one text; the model reads 512 tokens")
    max_body: int = Field(2_000_000, ge=1_000, description="bytes of one request")
    max_waiting_texts: int = Field(256, ge=1, description="accepted and not yet answered")
    deadline: float = Field(5.0, gt=0, description="a request that waits longer is a 504")
    max_age: float = Field(0.1, gt=0, description="limit for shorter texts to overtake a long one")
    gpu_memory: int = Field(0, ge=0, description="bytes that it may use of a GPU; 0: what is free")
    hang_after: float = Field(5.0, gt=0, description="limit for one run of model or tokenizer")
    breaker_failures: int = Field(3, ge=1, description="in a row that open the circuit breaker")
    breaker_cooldown: float = Field(5.0, gt=0, description="until the model is probed again")
    patience: float = Field(10.0, gt=0, description="for the bytes of one request to arrive")

    watch: float = Field(2.0, ge=0, description="between two looks into the registry; 0: none")
    canary: str = Field("", pattern=r"^[0-9]{0,9}$", description="a version to try")
    canary_share: float = Field(0.0, ge=0, le=1, description="of the callers that a canary answers")
    shadow_share: float = Field(0.0, ge=0, le=1, description="of answers compared with a canary's")
    salt: str = Field("", max_length=100, description="another one divides the callers anew")
    max_errors: float = Field(0.05, ge=0, le=1, description="share above the stable version's")
    min_agreement: float = Field(0.9, ge=0, lt=1, description="share of texts labelled alike")

    grace: float = Field(1.0, ge=0, description="serving on after SIGTERM, while not ready")
    drain: float = Field(6.0, ge=0, description="then, at most, for what was accepted")
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
