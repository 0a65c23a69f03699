"""The input of a run of ``optimize``: a classifier, its texts, the target, and the effort."""

from dataclasses import dataclass
from pathlib import Path

from tutorial_utils.core.errors import InvalidArgument
from tutorial_utils.data.labelled import FEWEST
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize.gate import Limits
from tutorial_utils.optimize.target import CPU, Target
from tutorial_utils.optimize.texts import Texts
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import SessionRecipe


@dataclass(frozen=True)
class Effort:
    """How long to measure, and how much to try.

    rounds, seconds: of each timing, see ``bench.timer.compare``. max_texts: most texts to use.
    thorough: if False, a single text is the only workload, only the fastest fp32 graph is
    quantized, fp16 is tried only if answers suffer in INT8, and the token budget stays at its
    default.
    """

    rounds: int = 7
    seconds: float = 0.3
    max_texts: int = 4_000
    thorough: bool = True

    def __post_init__(self) -> None:
        if self.rounds < 2 or not self.seconds > 0 or self.max_texts < FEWEST:
            raise InvalidArgument(
                f"Give at least 2 rounds, more than 0 seconds, and at least {FEWEST} texts."
            )


QUICK = Effort(rounds=5, seconds=0.1, max_texts=2_000, thorough=False)


@dataclass(frozen=True)
class Job:
    """The input of every stage.

    folder: for the files that the stages write. previous: folder of the version in use, which the
    new one is compared with; None if there is none. limits: of the gate. batch_invariant: an answer
    must not depend on the texts that share a batch with it.
    """

    classifier: Classifier
    texts: Texts
    folder: Path
    effort: Effort = Effort()
    previous: Path | None = None
    target: Target = CPU
    limits: Limits = Limits()
    batch_invariant: bool = False

    def file(self, name: str) -> Path:
        """Path of the candidate ``name``."""
        return self.folder / f"{name}.onnx"

    def recipe(
        self,
        budget: int | None = None,
        steps: tuple[str, ...] = (),
        session: SessionRecipe | None = None,
    ) -> Recipe:
        """How a candidate runs, both when it is timed and in the registry.

        session: by default the target's.
        """
        classifier, tokens = self.classifier, budget or self.target.budget
        session = session or self.target.session
        return Recipe(steps, session, tokens, classifier.max_length, classifier.padding)
