"""How a claim is audited: figures that a run kept, a judge for them, a table of what came out.

The claims and their judges are in ``claims``; ``benchmarks/claims`` measures. A judge turns
figures into a verdict, so that no verdict is ever typed.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutorial_utils.bench.intervals import Ratio
from tutorial_utils.core import paths
from tutorial_utils.core.tables import Table

HOLDS, IN_PART, DOES_NOT, NOT_TESTED = "holds", "holds in part", "does not hold", "not tested"
SAME_QUALITY = 0.005  # a smaller fall of F1 is called none
Figures = dict[str, Any]
Judge = Callable[[Figures], tuple[str, str]]  # what came out, and the reason


@dataclass(frozen=True)
class Claim:
    """number, text: ours for what is claimed. lesson: the notebook that tests it live.

    judge: figures → what came out, and the sentence that gives the reason.
    """

    number: int
    lesson: str
    text: str
    judge: Judge


@dataclass(frozen=True)
class Verdict:
    """What came out for one claim. figures: what it was judged by, as measured."""

    number: int
    word: str
    reason: str
    figures: Figures = field(default_factory=dict)


CLAIMS: dict[int, Claim] = {}


def claim(number: int, lesson: str, text: str) -> Callable[[Judge], Judge]:
    """Register the decorated function as the judge of a claim."""

    def register(judge: Judge) -> Judge:
        CLAIMS[number] = Claim(number, lesson, text, judge)
        return judge

    return register


def judge(number: int, figures: Figures) -> Verdict:
    """The verdict on a claim by its figures.

    Raises:
        KeyError: there is no such claim, or a figure is missing.
    """
    word, reason = CLAIMS[number].judge(figures)
    return Verdict(number, word, reason, figures)


def stored(file: Path | None = None) -> dict[int, Verdict]:
    """Verdicts by the figures that ``make claims`` kept."""
    found = json.loads((file or default_file()).read_text(encoding="utf-8"))
    return {int(n): judge(int(n), figures) for n, figures in found["figures"].items()}


def default_file() -> Path:
    """The stored figures that ``docs/claims.md`` shows: of which machine, its link says."""
    docs = paths.repository() / "docs"
    shown = re.search(r"\[claims\.json\]\((.+?)\)", (docs / "claims.md").read_text("utf-8"))
    return (docs / shown[1]).resolve()


def table(numbers: Iterable[int], file: Path | None = None) -> Table:
    """The verdicts on some claims, as they were stored."""
    known = stored(file)
    return Table.of(
        ("claim", "what is claimed", "it"),
        [(str(n), CLAIMS[n].text, known[n].word) for n in numbers],
    )


def markdown(file: Path | None = None) -> str:
    """The whole audit, for ``docs/claims.md``. file: in the folder of its machine."""
    file = file or default_file()
    machine = json.loads(file.read_text(encoding="utf-8"))["machine"]
    known = stored(file)
    rows = [
        (str(n), c.text, f"**{known[n].word}**: {known[n].reason}", _tested_by(c))
        for n, c in sorted(CLAIMS.items())
    ]
    headers = ("claim", "what is claimed", "what came out", "tested by")
    words = [known[n].word for n in CLAIMS]
    count = ", ".join(f"{word}: {words.count(word)}" for word in WORDS if word in words)
    features = ", ".join(machine["features"])
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return TEXT.format(
        count=count,
        table=Table.of(headers, rows).markdown(),
        machine=f"{machine['processor']}, {machine['cores']} cores ({features})",
        versions=versions,
        folder=file.parent.name,
    )


WORDS = (HOLDS, IN_PART, DOES_NOT, NOT_TESTED)
TEXT = """# The claims, audited

Sixteen claims that popular recipes for BERT on ONNX Runtime make, in our words, and what came out
here ({count}). Written by `make results` from
what `make claims` measured: [claims.json](../benchmarks/results/{folder}/claims.json).
The notebooks test them live, in the cells that name them.

{table}

Measured on {machine}; {versions}.
"""


def _tested_by(tested: Claim) -> str:
    return f"[notebook {tested.lesson[:2]}](../notebooks/{tested.lesson}.ipynb), `make claims`"


def faster(ratio: dict[str, float]) -> bool:
    """Whether a stored ratio of times is a verdict *faster*."""
    return Ratio(**ratio).word == "faster"


def slower(ratio: dict[str, float]) -> bool:
    """Whether a stored ratio of times is a verdict *slower*."""
    return Ratio(**ratio).word == "slower"


def share(value: float) -> str:
    return f"{value:.0%}"


def times(ratio: dict[str, float]) -> str:
    return str(Ratio(**ratio))


def f1(difference: dict[str, float]) -> str:
    middle, low, high = (difference[k] for k in ("difference", "low", "high"))
    return f"F1 {middle:+.4f} [{low:+.4f}, {high:+.4f}]"
