"""New versions in the registry, taken up while the service runs."""

import asyncio
import logging

from tutorial_utils import registry
from tutorial_utils.registry import BadModel
from tutorial_utils.serving.rollout import traffic
from tutorial_utils.serving.rollout.deployment import Deployment

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
        """Leave versions that were withdrawn; take up the newest if it is newer than all that run.

        A broken version is refused, and what runs stays. An operator comes first: a pinned version
        and a trial begun by hand are left alone, also if the operator acts while a version loads.
        """
        deployment, settings = self.deployment, self.deployment.settings
        if not deployment.follows:
            return
        gone = await deployment.read(registry.withdrawn, settings.registry, settings.model)
        async with deployment.changing:
            candidate = deployment.candidate
            if candidate and candidate.running.version in gone:
                deployment.take_back(traffic.BY_HAND)
                deployment.taken_back.discard(candidate.running.version)  # the mark says it
        if deployment.stable.version in gone:
            earlier = await deployment.read(self._earlier)
            if earlier is not None:
                log.error("version %s was withdrawn", deployment.stable.version)
                await self._take_up(earlier, 0.0, 0.0)
        elif (newest := await deployment.read(self._newer)) is not None:
            await self._take_up(newest, settings.canary_share, settings.shadow_share)

    async def _take_up(self, version: str, share: float, shadow: float) -> None:
        deployment = self.deployment
        async with deployment.changing:
            if not self._may_place(version):
                return
            try:
                model = await deployment.load(version)
            except BadModel as error:
                self.refused[version] = await deployment.read(self._stamp, version)
                log.error("version %s is refused: %s", version, error)
                return
            if self._may_place(version):  # nobody has pinned another one meanwhile
                deployment.place(model, share, shadow)

    def _may_place(self, version: str) -> bool:
        deployment = self.deployment
        newer = int(version) > int(deployment.stable.version)
        free = deployment.follows and version not in deployment.roles
        return free and not (newer and deployment.on_trial_by_hand)

    def _newer(self) -> str | None:
        """The newest version, if it is newer than all that run."""
        running = max(map(int, self.deployment.roles))
        usable = [version for version in self._usable() if int(version) > running]
        return usable[-1] if usable else None

    def _earlier(self) -> str | None:
        """What to go back to: the newest version before the stable one."""
        stable = int(self.deployment.stable.version)
        usable = [version for version in self._usable() if int(version) < stable]
        return usable[-1] if usable else None

    def _usable(self) -> list[str]:
        """Versions in use that were not found wanting here, oldest first."""
        settings = self.deployment.settings
        return [
            version
            for version in registry.versions(settings.registry, settings.model)
            if version not in self.deployment.taken_back
            and (version not in self.refused or self.refused[version] != self._stamp(version))
        ]

    def _stamp(self, version: str) -> tuple:
        settings = self.deployment.settings
        return registry.stamp(settings.registry, settings.model, version)
