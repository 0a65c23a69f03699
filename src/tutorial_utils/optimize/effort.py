"""How much is tried, and how long it is timed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """rounds, seconds: of each timing, as in ``benchmark.compare``. max_texts: texts used.

    thorough: if off, one text is the only workload, INT8 is made of the fastest fp32 graph only,
    and the token budget stays at its default.
    """

    rounds: int = 7
    seconds: float = 0.3
    max_texts: int = 4_000
    thorough: bool = True


QUICK = Effort(rounds=5, seconds=0.1, max_texts=2_000, thorough=False)
