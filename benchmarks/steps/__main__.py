"""All steps compared, and an A/A run that shows how far the timing can be trusted.

``python -m benchmarks.steps [a/a] [shapes] [texts]`` runs these stages, or all of them;
``report`` only draws the report again; ``--quick`` tests the code. Run it on a quiet machine.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict

from benchmarks import stages
from benchmarks.steps.report import NAME, draw
from tutorial_utils.bench import timer
from tutorial_utils.lessons import measure, pipeline

SHAPES = ((1, 24), (1, 128), (8, 128))


def same_twice(quick: bool) -> Iterator[dict]:
    """The same candidate twice; any verdict but "no measurable difference" is false."""
    same = measure.latency_candidate("int8")
    found = timer.compare({"int8": same, "int8 again": same}, rounds=3 if quick else 11)
    print(found.verdicts["int8 again"], flush=True)
    yield asdict(found)


def shapes(quick: bool) -> Iterator[dict]:
    """The BERT-base shape with seeded weights, at three shapes of its input."""
    found = {}
    for batch, length in SHAPES[:1] if quick else SHAPES:
        candidates = {s: measure.latency_candidate(s, batch, length) for s in pipeline.STEPS[:-1]}
        result = timer.compare(
            candidates, rounds=3 if quick else 7, minimum_calls=1 if batch > 1 else 3
        )
        found[f"{batch}x{length}"] = asdict(result)
        print(f"measured {batch} × {length}", flush=True)
        yield found


def texts(quick: bool) -> Iterator[dict]:
    """Real sentences from text to label, with the fine-tuned classifier."""
    candidates = {step: measure.labelling_candidate(step) for step in pipeline.STEPS}
    rounds = 3 if quick else 7
    yield asdict(timer.compare(candidates, rounds=rounds, warmup=1, minimum_calls=1))


STAGES = {"a/a": same_twice, "shapes": shapes, "texts": texts}

if __name__ == "__main__":
    stages.run(NAME, sys.argv[1:], STAGES, draw, package="steps")
