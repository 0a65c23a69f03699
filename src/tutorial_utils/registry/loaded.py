"""A version of a model that is ready to answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from tutorial_utils.drift.profile import Profile
from tutorial_utils.registry.manifest import Manifest, ModelForm
from tutorial_utils.runtime import tokenization
from tutorial_utils.runtime.recipe import Recipe
from tutorial_utils.runtime.tokenization import Text
from tutorial_utils.tasks import named


@dataclass(frozen=True)
class LoadedModel:
    """A version ready to run. form: the one of its forms that runs here.

    profile: of the traffic that is normal for it, if it has one. spare: the same version in its
    form for a CPU, where ``form`` needs another device, which may fail.
    """

    manifest: Manifest
    form: ModelForm
    session: ort.InferenceSession
    tokenizer: Tokenizer
    profile: Profile | None = None
    spare: "LoadedModel | None" = None

    @property
    def recipe(self) -> Recipe:
        """How the chosen form is run."""
        return self.form.recipe

    @property
    def width(self) -> int:
        """Numbers in one answer: one for each label, or the dimensions of a vector."""
        return len(self.manifest.labels) or int(self.session.get_outputs()[0].shape[-1])

    def encode(self, texts: Sequence[Text]) -> list[list[int]]:
        """Token ids of each text or pair, cut to the length that the recipe names."""
        return tokenization.encode(self.tokenizer, texts)

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """float32 (batch, width) for padded inputs (batch, sequence): the task's raw output."""
        given = {value.name: inputs[value.name] for value in self.session.get_inputs()}
        return self.session.run([named(self.manifest.task).output], given)[0]
