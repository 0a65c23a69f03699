"""Change versions by hand. These routes exist only if a token is set."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tutorial_utils.serving.http.errors import documented
from tutorial_utils.serving.rollout.deployment import Deployment
from tutorial_utils.serving.rollout.registry_watcher import Watcher


class Switch(BaseModel, extra="forbid"):
    """The version to serve: a number pins it, ``latest`` follows the registry again."""

    version: Annotated[str, Field(pattern=r"^(latest|[0-9]{1,9})$")]


class Try(BaseModel, extra="forbid"):
    """The version to try, and its shares: of callers it answers, and of answers to compare."""

    version: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    shadow: Annotated[float, Field(ge=0, le=1)] = 1.0


class State(BaseModel):
    """Which versions run, in which role, and which were rolled back.

    follows_latest: false while the version is pinned. refused: versions that could not be loaded.
    """

    model: str
    follows_latest: bool
    running: dict[str, str]
    taken_back: list[str]
    refused: list[str]


def router(deployment: Deployment, watcher: Watcher, token: str) -> APIRouter:
    """The routes under ``/admin``, for callers that send ``Authorization: Bearer <token>``."""
    bearer = HTTPBearer(auto_error=False)

    def allowed(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if sent is None or not hmac.compare_digest(sent.credentials.encode(), token.encode()):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(401, "send the admin token of the service", challenge)

    routes = APIRouter(
        prefix="/admin", tags=["Admin"], dependencies=[Depends(allowed)],
        responses=documented(401, 408, 409, 413, 415, 422),
    )  # fmt: skip

    def state() -> State:
        return State(
            model=deployment.model,
            follows_latest=deployment.follows,
            running=deployment.roles,
            taken_back=sorted(deployment.taken_back, key=int),
            refused=sorted(watcher.refused, key=int),
        )

    @routes.get("/deployment")
    async def show() -> State:
        return state()

    @routes.post("/switch")
    async def switch(body: Switch) -> State:
        await deployment.switch(body.version)
        return state()

    @routes.post("/candidate")
    async def try_out(body: Try) -> State:
        await deployment.try_out(body.version, body.share, body.shadow)
        return state()

    @routes.post("/promote")
    async def promote() -> State:
        await deployment.promote()
        return state()

    @routes.post("/roll-back")
    async def roll_back() -> State:
        await deployment.roll_back()
        return state()

    return routes
