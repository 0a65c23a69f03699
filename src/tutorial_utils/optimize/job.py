"""What a run of ``optimize`` works on: a classifier, its texts, and how much is tried."""

from dataclasses import dataclass
from pathlib import Path

from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe

BUDGET = 1024  # tokens of a batch, unless another budget is found to be faster
# While it loads a file, ONNX Runtime would fuse again what was left apart because it costs time.
UNFUSED = ("SkipLayerNormFusion", "BiasGeluFusion")


@dataclass(frozen=True)
class Effort:
    """rounds, seconds: of each timing, see ``bench.timer.compare``. max_texts: texts used at most.

    thorough: if off, one text is the only workload, INT8 is made of the fastest fp32 graph only,
    and the token budget stays at its default.
    """

    rounds: int = 7
    seconds: float = 0.3
    max_texts: int = 4_000
    thorough: bool = True


QUICK = Effort(rounds=5, seconds=0.1, max_texts=2_000, thorough=False)


@dataclass(frozen=True)
class Job:
    """What every stage is given.

    folder: for the files that the stages write. previous: folder of the version in use, which the
    new one is compared with; None where there is none to compare with.
    """

    classifier: Classifier
    texts: Texts
    folder: Path
    effort: Effort = Effort()
    previous: Path | None = None

    def file(self, name: str) -> Path:
        """Where the file of the candidate ``name`` is."""
        return self.folder / f"{name}.onnx"

    def recipe(self, budget: int = BUDGET, steps: tuple[str, ...] = ()) -> Recipe:
        """How a candidate runs when it is timed, and in the registry."""
        session = SessionRecipe(disabled_optimizers=UNFUSED, huge_pages=True)
        return Recipe(steps, session, budget, self.classifier.max_length, self.classifier.padding)
