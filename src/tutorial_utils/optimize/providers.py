"""Candidates for other providers of the same processor: each in the form that the provider knows.

OpenVINO's fusions know the plain graph, not the fused operators of the CPU provider. It computes in
8 bits where scales are in the file (Q/DQ), and in bf16 what is in fp32, on processors that have it.
"""

from dataclasses import replace

from tutorial_utils.core import machine
from tutorial_utils.optimize import stages, timing, variants
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.results import Candidate, Found, Trial
from tutorial_utils.optimize.variants import Variant
from tutorial_utils.runtime import openvino
from tutorial_utils.runtime.session import PROVIDERS, SessionRecipe, made_here, provider_problem

STAGE = "other_providers"
PACKAGES = ("onnxruntime-ep-openvino", "onnxruntime-openvino")


def state(job: Job) -> tuple[str | None, ...]:
    """What ``other_providers`` depends on: whether they run here, and their versions."""
    problems = (provider_problem(session.provider) for session in job.target.also)
    return (*problems, *(machine.version(name) for name in PACKAGES))


def other_providers(job: Job, found: Found) -> Found:
    """Build the files that they want, and compare their answers with PyTorch's."""
    for session in job.target.also:
        if problem := provider_problem(session.provider):
            note = f"{PROVIDERS[session.provider]} was not tried: {problem}."
            found = replace(found, notes=(*found.notes, note))
        else:
            found = _on_openvino(job, found, session)
    return found


def _on_openvino(job: Job, found: Found, session: SessionRecipe) -> Found:
    plain = variants.plain(job)
    if plain.problem:
        return found.tried(Trial(STAGE, plain.name, False, plain.problem))
    found = _int8(job, found, plain.name, session)
    if not job.effort.thorough:
        return found
    has_bf16 = machine.has_bf16()
    hint = replace(session, provider_options=openvino.precision("bf16" if has_bf16 else "f32"))
    variant = variants.compared(job, plain.name, hint)
    candidate = Candidate(plain.name, plain.name, "bf16" if has_bf16 else "fp32", session=hint)
    return _added(job, found, [variant], candidate)


def _int8(job: Job, found: Found, source: str, session: SessionRecipe) -> Found:
    """In 8 bits: all products, and all but those of attention, if these may be better."""
    session = made_here(session)
    made = [variants.calibrated(job, source, session)]
    first = Candidate(made[0].name, source, "int8", made[0].close, session)
    if job.effort.thorough or made[0].problem or not first.promising(job.limits):
        made.append(variants.calibrated(job, source, session, attention=False))
    return _added(job, found, made, first)


def _added(job: Job, found: Found, made: list[Variant], like: Candidate) -> Found:
    """The results with the best of the files that were made as a candidate, if one can be used.

    The fastest of those whose answers will probably pass; if none will, of all of them.
    """
    candidates = [
        replace(like, name=variant.name, fidelity=variant.close)
        for variant in made
        if not variant.problem
    ]
    right = [one for one in candidates if one.promising(job.limits)] or candidates
    names = [one.name for one in right]
    raced = timing.race(job, names, like.session)
    best = timing.fastest(raced, names[0]) if names else ""
    trials = (stages.trial(job, STAGE, one, best, raced, like.provider(job)) for one in made)
    chosen = tuple(one for one in candidates if one.name == best)
    return replace(found, others=(*found.others, *chosen)).tried(*trials)
