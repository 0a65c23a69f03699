"""Versions of models on disk: the only code that writes or reads them.

registry.write_version(folder, "sentiment", [ModelForm(file, recipe)], tokenizer, labels)
model = registry.load(folder, "sentiment")
"""

from tutorial_utils.registry.files import MANIFEST, MODEL, TOKENIZER
from tutorial_utils.registry.forms import choose
from tutorial_utils.registry.loaded import LoadedModel
from tutorial_utils.registry.loading import load
from tutorial_utils.registry.lookup import models, only_model
from tutorial_utils.registry.manifest import BadModel, Manifest, ModelForm, read_manifest
from tutorial_utils.registry.store import (
    check_name,
    restore,
    stamp,
    versions,
    withdraw,
    withdrawn,
    write_version,
)
