"""Candidates for other providers of the same processor: each in the form that the provider knows.

OpenVINO's fusions know the plain graph, not the fused operators of the CPU provider. It computes in
8 bits where scales are in the file (Q/DQ), and in bf16 what is in fp32, on processors that have it.
"""

from dataclasses import replace

from tutorial_utils.core import machine
from tutorial_utils.optimize import stages, variants
from tutorial_utils.optimize.answers import Fidelity
from tutorial_utils.optimize.job import Job
from tutorial_utils.optimize.results import Candidate, Found, Trial
from tutorial_utils.optimize.variants import Variant
from tutorial_utils.runtime import openvino
from tutorial_utils.runtime.session import PROVIDERS, SessionRecipe, provider_problem

BF16 = {"avx512_bf16", "amx_bf16"}  # with one of these, OpenVINO computes in bf16
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

    def likely(close: Fidelity) -> bool:
        return Candidate("", plain.name, "int8", close).promising(job.limits)

    eight = variants.calibrated(job, plain.name, session, likely)
    found = _added(job, found, eight, Candidate(eight.name, plain.name, "int8", session=session))
    if not job.effort.thorough:
        return found
    precision = "bf16" if BF16 & set(machine.features()) else "f32"
    session = replace(session, provider_options=openvino.precision(precision))
    whole = variants.compared(job, plain.name, session)
    precision = "bf16" if precision == "bf16" else "fp32"
    return _added(job, found, whole, Candidate(plain.name, plain.name, precision, session=session))


def _added(job: Job, found: Found, variant: Variant, candidate: Candidate) -> Found:
    """The results with a candidate, unless its file cannot be used."""
    trial = stages.trial(job, STAGE, variant, variant.name, {}, candidate.provider(job))
    if not variant.problem:
        candidate = replace(candidate, fidelity=variant.close)
        found = replace(found, others=(*found.others, candidate))
    return found.tried(trial)
