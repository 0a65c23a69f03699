"""A version that runs with an engine of its own, and how long it is kept."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tutorial_utils.registry import LoadedModel
from tutorial_utils.serving.engine.engine import Engine
from tutorial_utils.serving.engine.request import Prediction


@dataclass(eq=False)
class Running:
    """A version that takes requests until it is retired; with the last answer its engine closes.

    Used on the event loop only, so the count needs no lock.
    """

    model: LoadedModel
    engine: Engine
    in_flight: int = 0
    retired: bool = False
    _closing: threading.Thread | None = None

    @property
    def version(self) -> str:
        return self.model.manifest.version

    @property
    def closed(self) -> bool:
        """Has its engine closed, after it was retired?"""
        return self._closing is not None and not self._closing.is_alive()

    async def predict(self, texts: list[str], deadline: float | None = None) -> Prediction:
        """As ``Engine.predict``."""
        with self._held():
            return await self.engine.predict(texts, deadline)

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
        if self.retired and self.in_flight == 0 and self._closing is None:
            # Off the event loop: a run that its caller gave up may still go on.
            self._closing = threading.Thread(target=self.engine.close, name="closing", daemon=True)
            self._closing.start()
