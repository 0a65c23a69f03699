"""What we know before anything is exported, as facts for programs and as lines for people."""

from dataclasses import dataclass

from tutorial_utils.models.checkpoint import name_of
from tutorial_utils.models.pooling import Pooling
from tutorial_utils.models.weights import Weights
from tutorial_utils.tasks import named


@dataclass(frozen=True)
class Tokens:
    """A tokenizer. kind: its algorithm, or the class of a slow one. size: of its vocabulary."""

    kind: str
    size: int
    fast: bool
    truncation_side: str
    padding_side: str

    def __str__(self) -> str:
        kind = f"{self.kind} ({'fast' if self.fast else 'slow'}), {self.size:,} tokens"
        return f"{kind}; pads on the {self.padding_side}, cuts on the {self.truncation_side}"


@dataclass(frozen=True)
class Data:
    """A data file, as we read it. reads: ``text`` or ``pair``. skipped: rows that were left out.

    majority: share of the most frequent label; None for numbers. truncated: share of longer texts.
    """

    file: str
    texts: int
    reads: str
    understood: str
    skipped: int
    majority: float | None
    truncated: float | None

    def __str__(self) -> str:
        parts = (
            f"{self.texts:,} {'pairs of texts' if self.reads == 'pair' else 'texts'}",
            self.majority and f"{self.majority:.1%} have the most frequent label",
            self.truncated and f"{self.truncated:.1%} are cut",
            self.skipped and f"{self.skipped:,} bad rows are left out",
        )
        return f"{self.file} ({self.understood}): {', '.join(part for part in parts if part)}"


@dataclass(frozen=True)
class Overview:
    """What is known of a model and its data; None where it could not be found out.

    decided_by: where the task was read from. width: of a vector, pooling: of its tokens'; None of a
    classifier. fusions: those known for the family; None if the
    family is not among those that were tried. minutes, quick_minutes: about how long ``optimize``
    takes here, with all it tries and with ``--quick``. error: why ``optimize`` would refuse.
    """

    source: str
    family: str | None
    architecture: str | None
    weights: Weights | None
    task: str | None
    decided_by: str | None
    labels: tuple[str, ...]
    width: int | None
    pooling: Pooling | None
    inputs: tuple[str, ...]
    max_length: int | None
    longest: int | None
    tokenizer: Tokens | None
    fusions: tuple[str, ...] | None
    data: Data | None
    minutes: float | None
    quick_minutes: float | None
    remarks: tuple[str, ...]
    error: str | None = None

    def __str__(self) -> str:
        """A line for each fact that is known, then the remarks."""
        untried = "none is known for this family; `optimize` tries all"
        lines = {
            "model": self.family and f"{self.family} ({self.architecture or 'no architecture'})",
            "weights": self.weights,
            "task": self.task and f"{named(self.task).answer}{self._parts()} ({self.decided_by})",
            "inputs": ", ".join(self.inputs),
            "length": self.max_length
            and f"{self.max_length:,} tokens, of {self.longest:,} possible",
            "tokenizer": self.tokenizer,
            "fusions": self.inputs and (", ".join(self.fusions or ()) or untried),
            "data": self.data,
            "optimize": self.minutes and self._time(),
        }
        told = [f"  {name:<9}  {line}" for name, line in lines.items() if line]
        return "\n".join(
            [name_of(self.source), *told, *(f"  - {remark}" for remark in self.remarks)]
        )

    def _parts(self) -> str:
        """The parts of an answer: labels, or the numbers of a vector."""
        if self.pooling:
            length = ", of length 1" if self.pooling.normalize else ""
            return f": {self.width} numbers, pooled by {self.pooling.mode}{length}"
        names = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
        return names and f": {names}"

    def _time(self) -> str:
        full, quick = max(1, round(self.minutes or 0)), max(1, round(self.quick_minutes or 0))
        return f"about {full} min on this CPU, as busy as it is now; with --quick about {quick}"
