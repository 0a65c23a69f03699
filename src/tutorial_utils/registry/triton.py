"""A version of the registry as Triton's ONNX Runtime backend reads it: token ids in, logits out.

    OUT/NAME/config.pbtxt     how it is called and run
            /labels.txt       one label per line, in the order of the logits; vectors have none
            /tokenizer.json   for the caller: Triton tokenizes nothing here
            /N/model.onnx     version N of the registry, as ONNX Runtime runs it here

The backend has levels of graph rewrites, but cannot leave out single ones as a recipe can. So we
rewrite the graph here, once, and tell the backend to rewrite nothing.

Triton batches requests of equal shape only, and counts requests, not tokens. Its *ragged* batches
need a model that takes one flat row of tokens, which BERT's attention does not. So callers pad,
preferably to a few fixed lengths. Sources: Triton's model configuration (``model_config.proto``)
and the README of its ONNX Runtime backend.
"""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from tutorial_utils.core import paths
from tutorial_utils.registry import loading, store
from tutorial_utils.registry.files import MODEL, TOKENIZER
from tutorial_utils.registry.loaded import LoadedModel
from tutorial_utils.registry.manifest import BadModel
from tutorial_utils.runtime.session import SessionRecipe, open_session

MAX_BATCH = 32  # texts; with max_length tokens each, they limit the memory of a run
DEADLINE, QUEUE = 5_000_000, 256  # microseconds and requests, as the service's own defaults
NO_REWRITES = 2  # the backend's number for it
LABELS = "labels.txt"
TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(int32)": "TYPE_INT32", "tensor(float)": "TYPE_FP32"}


def write(registry: Path, name: str, target: Path, version: str = "latest") -> Path:
    """Write a version into Triton's model repository ``target``; return its folder there.

    The model's folder appears under its number only when it is complete; a second version
    joins the first and shares its configuration.

    Raises:
        BadName: ``name`` cannot be a model's name.
        BadModel: the registry has no such version, or it is broken, or not for a CPU.
        FileExistsError: the repository has that version.
    """
    model = loading.load(registry, name, version)
    manifest, recipe = model.manifest, model.recipe
    if recipe.session.provider != "cpu":
        raise BadModel(f"{manifest} is not for a CPU: write its config.pbtxt by hand.")
    source = store.model_folder(registry, name) / manifest.version
    model_folder = store.model_folder(target, name)
    folder = model_folder / manifest.version
    if folder.exists():
        raise FileExistsError(f"{name} {manifest.version} already exists: remove it first.")
    model_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model_folder, prefix=".incomplete-") as scratch:
        complete = Path(scratch, manifest.version)
        complete.mkdir()
        save_as_it_runs(source / model.form.file, recipe.session, complete / MODEL)
        with paths.replacing(model_folder / TOKENIZER) as temporary:
            shutil.copyfile(source / TOKENIZER, temporary)
        if manifest.labels:
            paths.write(model_folder / LABELS, "".join(f"{label}\n" for label in manifest.labels))
        paths.write(model_folder / "config.pbtxt", config(model))
        return complete.rename(folder)


def config(model: LoadedModel) -> str:
    """``config.pbtxt``, in protobuf's text format."""
    manifest = model.manifest
    inputs = ",\n".join(
        f"  {{ name: {json.dumps(given.name)} data_type: {TYPES[given.type]} dims: [ -1 ] }}"
        for given in model.session.get_inputs()
    )
    (output,) = model.session.get_outputs()
    labels = f" label_filename: {json.dumps(LABELS)}" if manifest.labels else ""
    return f"""name: {json.dumps(manifest.name)}
backend: "onnxruntime"
default_model_filename: {json.dumps(MODEL)}
max_batch_size: {MAX_BATCH}
input [
{inputs}
]
output [
  {{
    name: {json.dumps(output.name)} data_type: {TYPES[output.type]} dims: [ {model.width} ]{labels}
  }}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {DEADLINE}
    max_queue_size: {QUEUE}
  }}
}}
optimization {{ graph {{ level: {NO_REWRITES} }} }}
parameters {{
  key: "intra_op_thread_count" value: {{ string_value: "{model.recipe.session.threads}" }}
}}
parameters {{ key: "inter_op_thread_count" value: {{ string_value: "1" }} }}
"""


def save_as_it_runs(file: Path, recipe: SessionRecipe, target: Path) -> None:
    """The graph after the rewrites of loading, without those that suit this processor only."""
    if recipe.optimization == "all":
        recipe = replace(recipe, optimization="extended")
    options = recipe.options()
    options.optimized_model_filepath = str(target)
    if any(file.parent.glob("*.data")):  # weights beside the file, here as there
        beside = "session.optimized_model_external_initializers_file_name"
        options.add_session_config_entry(beside, paths.weights_of(target).name)
    open_session(file, recipe, options)
