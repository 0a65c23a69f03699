"""A recipe: how a model file was made, and how to run it."""

from dataclasses import dataclass, replace

from tutorial_utils.core import machine
from tutorial_utils.runtime.batching import Padding
from tutorial_utils.runtime.session import SessionRecipe


@dataclass(frozen=True)
class Recipe:
    """How a model file was made, and how to run it.

    steps: names of the steps that made it, in order. session: for one text at a time.
    token_budget: largest number of tokens in one batch; texts are sorted by length.
    max_length: tokens of one text; longer ones are truncated.
    workers: batches that run at the same time when many texts wait; each gets an equal share of
    the cores.
    """

    steps: tuple[str, ...] = ()
    session: SessionRecipe = SessionRecipe()
    token_budget: int = 1024
    max_length: int = 512
    padding: Padding = Padding()
    workers: int = 1

    def in_bulk(self) -> SessionRecipe:
        """The session for many batches: each of ``workers`` calls it and has its own cores.

        For a single text, ``session`` is faster, because it has all cores.
        """
        if self.workers == 1:
            return self.session
        return replace(self.session, threads=max(1, machine.cores() // self.workers))
