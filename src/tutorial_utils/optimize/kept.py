"""Run stages and keep the results of each, so that a run that was killed continues there.

They are reused only if model, data, code, libraries, machine and effort are the same.
"""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tutorial_utils.core import hashing, machine, paths, provenance, records
from tutorial_utils.data import labelled
from tutorial_utils.models.classifiers import Classifier
from tutorial_utils.optimize import promotion, providers
from tutorial_utils.optimize.job import Effort, Job
from tutorial_utils.optimize.ladder import Stage, stages
from tutorial_utils.optimize.results import Found
from tutorial_utils.optimize.stages import evaluate, protect, tune
from tutorial_utils.optimize.target import CPU, Target


def fingerprint(
    classifier: Classifier,
    data: Path | None,
    effort: Effort,
    target: Target = CPU,
    reading: labelled.Reading = labelled.Reading(),
) -> str:
    """A hash of everything that stored results depend on; see the module.

    It covers all files in the model's folder, or the commit of a model on the hub.
    """
    folder, pace = Path(classifier.source), os.environ.get("TUTORIAL_PACE")
    if folder.is_dir():  # its content counts, not its path
        classifier = replace(classifier, source="")
    known = (
        machine.describe(),
        describe(target),
        effort,
        target,
        pace,
        reading,
        classifier,
        provenance.of(run_stages),
    )
    digest = hashlib.sha256(repr(known).encode())
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    for file in [*files, *([Path(data)] if data else [])]:
        digest.update(f"{file.name} {hashing.sha256(file)}".encode())
    return digest.hexdigest()[:16]


def describe(target: Target) -> str:
    """The machine that a run for a target measures on."""
    here = str(machine.describe())
    return f"{here} with {machine.gpus() or 'no GPU'}" if target.accelerated else here


def run_stages(job: Job, progress: Callable[[str], None]) -> Found:
    """Run all stages but the last; results of stages that an earlier run finished are read."""
    job.folder.mkdir(parents=True, exist_ok=True)
    found = Found()
    for stage in stages(job.target)[:-1]:
        found = run_stage(job, stage, found, progress)
    return found


def run_stage(job: Job, stage: Stage, found: Found, progress: Callable[[str], None]) -> Found:
    """Run one stage and store its results as JSON, or read those that are stored."""
    record, todo = record_of(job, stage, found), stages(job.target)
    number = todo.index(stage) + 1
    label = f"[{number}/{len(todo)}] {stage.__name__}"
    if record.exists():
        progress(f"{label}: kept from the run before")
        return records.loads(Found, record.read_text(encoding="utf-8"))
    progress(f"{label} …")
    start, before = time.perf_counter(), len(found.trials)
    found = stage(job, found)
    for trial in found.trials[before:]:
        progress(f"    {trial}")
    paths.write(record, records.dumps(found))
    told = "" if len(found.trials) > before or number in (1, len(todo)) else ": nothing to do"
    progress(f"    {time.perf_counter() - start:.0f} s{told}")
    return found


def record_of(job: Job, stage: Stage, found: Found) -> Path:
    """Where the results of a stage are stored; ``found``: what it starts from.

    The name has a hash of all that they depend on besides the job's fingerprint. Times are
    compared within one run, so another version in use needs a new measurement.
    """
    depends: tuple = ()
    if stage in (protect, tune):
        depends = job.limits, job.batch_invariant
    elif stage is providers.other_providers:
        depends = job.limits, providers.state(job)
    elif stage is evaluate:
        version = promotion.digest(job.previous) if job.previous else None
        depends = job.batch_invariant, job.effort, version
    key = hashlib.sha256(f"{depends} {records.dumps(found)}".encode()).hexdigest()[:8]
    return job.folder / f"{stage.__name__}_{key}.json"
