"""Versions of models on disk: the only code that writes or reads them.

registry.write_version(folder, "sentiment", [ModelForm(file, recipe)], tokenizer, labels)
model = registry.load(folder, "sentiment")
"""

from tutorial_utils.registry.loading import LoadedModel, choose, describe, load
from tutorial_utils.registry.manifest import (
    MANIFEST,
    MODEL,
    PROFILE,
    TOKENIZER,
    BadModel,
    Manifest,
    ModelForm,
    read_manifest,
)
from tutorial_utils.registry.store import (
    BadName,
    check_name,
    latest,
    restore,
    stamp,
    versions,
    withdraw,
    withdrawn,
    write_version,
)

__all__ = [
    "MANIFEST",
    "MODEL",
    "PROFILE",
    "TOKENIZER",
    "BadModel",
    "BadName",
    "LoadedModel",
    "Manifest",
    "ModelForm",
    "check_name",
    "choose",
    "describe",
    "latest",
    "load",
    "read_manifest",
    "restore",
    "stamp",
    "versions",
    "withdraw",
    "withdrawn",
    "write_version",
]
