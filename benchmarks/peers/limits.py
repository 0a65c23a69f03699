"""How fast ours is to be beside the best peer: it depends on what the processor offers for INT8."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """value: to be reached. stretch: what would be better still, or None."""

    value: float
    stretch: float | None = None

    def times(self, reference: str) -> str:
        """The limit in words, as "0.95 × the best peer (stretch 0.90)"."""
        stretch = "" if self.stretch is None else f" (stretch {self.stretch:.2f})"
        value = f"{self.value:.2f}" if self.value < 2 else f"{self.value:g}"
        return f"{value} × {reference}{stretch}"


@dataclass(frozen=True)
class Limits:
    """For one kind of processor. Times at most so many times the best peer's, by shape.

    batched: texts per second of real sentences with equal batching, relative to the best peer's.
    padded: the same relative to PyTorch one by one. pytorch: speed at 1 × 128 relative to PyTorch,
    or None.
    """

    processor: str
    times: dict[str, Limit]
    batched: Limit
    padded: Limit
    pytorch: Limit | None = None


AMX = Limits(
    "with AMX",
    {"1 × 24": Limit(0.95, 0.90), "1 × 128": Limit(0.95, 0.85), "8 × 128": Limit(0.95, 0.85)},
    batched=Limit(1.2, 1.35),
    padded=Limit(28),
    pytorch=Limit(6.5),
)
NO_AMX = Limits(
    "without AMX",
    {"1 × 24": Limit(1.00), "1 × 128": Limit(1.05, 1.00), "8 × 128": Limit(1.05, 0.97)},
    batched=Limit(1.1, 1.15),
    padded=Limit(30),
)


def limits(found: dict) -> Limits:
    """Those for the machine of a run."""
    return AMX if "amx_int8" in found.get("machine", {}).get("features", ()) else NO_AMX
