"""A version that runs with an engine of its own, and how long it is kept."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tutorial_utils.registry import LoadedModel
from tutorial_utils.serving.engine import Engine, Prediction


@dataclass(eq=False)
class Running:
    """A version that takes requests until it is retired; with the last answer its engine closes.

    Used on the event loop only, so the count needs no lock.
    """

    model: LoadedModel
    engine: Engine
    in_flight: int = 0
    retired: bool = False

    @property
    def version(self) -> str:
        return self.model.manifest.version

    async def predict(self, texts: list[str]) -> Prediction:
        """As ``Engine.predict``."""
        with self._held():
            return await self.engine.predict(texts)

    async def probe(self) -> None:
        """As ``Engine.probe``."""
        with self._held():
            await self.engine.probe()

    def retire(self) -> None:
        """Take no new requests from now on."""
        self.retired = True
        self._close_if_drained()

    @contextmanager
    def _held(self) -> Iterator[None]:
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self.retired and self.in_flight == 0:
            # A run that its caller gave up may still go on; nobody waits for it.
            threading.Thread(target=self.engine.close, name="closing", daemon=True).start()
