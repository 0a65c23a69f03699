"""Puts new versions of the registry into use while the service runs."""

import asyncio
import logging

from tutorial_utils import registry
from tutorial_utils.registry import BadModel
from tutorial_utils.serving.rollout import traffic
from tutorial_utils.serving.rollout.deployment import Deployment

log = logging.getLogger(__name__)


class Watcher:
    """Watches the registry for a deployment that follows it.

    refused: version → stamp of its files when it was refused; it is read again when they change.
    withdrawn: version → why, of those that are still in use here.
    """

    def __init__(self, deployment: Deployment):
        self.deployment = deployment
        self.refused: dict[str, tuple] = {}
        self.withdrawn: dict[str, str] = {}

    async def run(self, seconds: float) -> None:
        """Look regularly, even if a look fails."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.look()
            except Exception as error:
                log.error("the registry cannot be read: %s", type(error).__name__)

    async def look(self) -> None:
        """Stop using withdrawn versions, and use the newest one if it is newer than all that run.

        A broken version is refused, and the running one stays. Operators have priority: a pinned
        version and a trial begun by hand are left alone. A version that was rolled back does not
        return, even if that happened while the registry was read or a version loaded. A version
        that stays in use although it was withdrawn is logged once.
        """
        gone, usable = await asyncio.to_thread(self._read)
        if self.deployment.follows:
            await self._follow(gone, usable)
        used = {*self.deployment.roles}
        if self.deployment.fallback:
            used.add(self.deployment.fallback.manifest.version)
        for version in (used & gone.keys()) - self.withdrawn.keys():
            log.warning(
                "version %s was withdrawn (%s) and is still in use here: it is pinned, the "
                "fallback, or the only one. Switch to another, or restart with another --version "
                "or --fallback.",
                version, gone[version],
            )  # fmt: skip
        self.withdrawn = {version: gone[version] for version in used if version in gone}

    async def _follow(self, gone: dict[str, str], usable: list[str]) -> None:
        deployment, settings = self.deployment, self.deployment.settings
        async with deployment.changing:
            candidate = deployment.candidate
            if candidate and candidate.engine.version in gone:
                deployment.take_back(traffic.BY_HAND)
                deployment.taken_back.discard(candidate.engine.version)  # the mark says it
        stable = deployment.stable.version
        if stable in gone:
            if earlier := [version for version in usable if int(version) < int(stable)]:
                log.error("version %s was withdrawn", stable)
                await self._take_up(earlier[-1], 0.0, 0.0)
        elif usable and int(usable[-1]) > max(map(int, deployment.roles)):
            await self._take_up(usable[-1], settings.canary_share, settings.shadow_share)

    async def _take_up(self, version: str, share: float, shadow: float) -> None:
        deployment = self.deployment
        async with deployment.changing:
            if not self._may_place(version):
                return
            try:
                model = await deployment.load(version)
            except BadModel as error:
                self.refused[version] = await asyncio.to_thread(self._stamp, version)
                log.error("version %s is refused: %s", version, error)
                return
            if self._may_place(version):  # nobody has pinned another one meanwhile
                deployment.place(model, share, shadow)

    def _may_place(self, version: str) -> bool:
        deployment = self.deployment
        newer = int(version) > int(deployment.stable.version)
        by_hand = deployment.candidate is not None and deployment.candidate.by_hand
        known = {*deployment.roles, *deployment.taken_back}
        return deployment.follows and version not in known and not (newer and by_hand)

    def _read(self) -> tuple[dict[str, str], list[str]]:
        """Withdrawn versions, and those in use that have not failed here, oldest first."""
        name = self.deployment.settings.registry, self.deployment.model
        gone = registry.withdrawn(*name)
        failed = self.deployment.taken_back | {
            version for version, stamp in self.refused.items() if stamp == self._stamp(version)
        }
        return gone, [version for version in registry.versions(*name) if version not in failed]

    def _stamp(self, version: str) -> tuple:
        deployment = self.deployment
        return registry.stamp(deployment.settings.registry, deployment.model, version)
