"""New versions in the registry, taken up while the service runs."""

import asyncio
import logging

from tutorial_utils.recipe import BadModel
from tutorial_utils.serving import registry
from tutorial_utils.serving.deployment import Deployment

log = logging.getLogger(__name__)


class Watcher:
    """Looks into the registry for a deployment that follows it.

    refused: version → stamp of its files when it was refused; it is read again when they change.
    """

    def __init__(self, deployment: Deployment):
        self.deployment = deployment
        self.refused: dict[str, tuple] = {}

    async def run(self, seconds: float) -> None:
        """Look again and again; no fault of a disk ends that."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.look()
            except Exception as error:
                log.error("the registry cannot be read: %s", type(error).__name__)

    async def look(self) -> None:
        """Take up the newest version if it is newer than all that run; one that is broken, not."""
        deployment, settings = self.deployment, self.deployment.settings
        newest = await deployment.read(self._newer)
        if newest is None:
            return
        async with deployment.changing:
            try:
                await deployment.take_up(newest, settings.canary_share, settings.shadow_share)
            except BadModel as error:
                self.refused[newest] = await deployment.read(self._stamp, newest)
                log.error("version %s is refused: %s", newest, error)

    def _newer(self) -> str | None:
        deployment, settings = self.deployment, self.deployment.settings
        if not deployment.follows:
            return None
        running = max(map(int, deployment.roles))
        for version in reversed(registry.versions(settings.registry, settings.model)):
            if int(version) <= running:
                return None
            unreadable = self.refused.get(version) == self._stamp(version)
            if not unreadable and version not in deployment.taken_back:
                return version
        return None

    def _stamp(self, version: str) -> tuple:
        settings = self.deployment.settings
        return registry.stamp(settings.registry, settings.model, version)
