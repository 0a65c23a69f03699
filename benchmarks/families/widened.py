"""The course's classifier at base size: twice as wide, twice as deep, and it answers the same.

Agreement in 8 bits says something only of a model whose answers mean something. Its encoder of 6
layers and 384 numbers is therefore written into families of 768 (Net2Net, Chen et al., ICLR 2016):
each number is there twice, and what reads both copies gets a random share of the weight for each.
Every second layer of a family of twelve passes on what it is given, but for a little noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tutorial_utils.data import reviews
from tutorial_utils.runtime import batching

HEADS = 12  # of the classifier, and of every family here
SENTENCES = 64  # on which the mean and the spread of a layer's results are found
NOISE = 0.002  # standard deviation of the weights of a layer that passes on what it is given


@dataclass(frozen=True)
class Names:
    """What a family calls the parts of its encoder. ``norms``: after attention, after the rest.

    first: the row of the first position's vector.
    """

    layers: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    out: str = "attention.output.dense"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    norms: tuple[str, str] = ("attention.output.LayerNorm", "output.LayerNorm")
    first: int = 0


BERT = Names()
FAMILIES: dict[str, Names] = {
    "bert": BERT,
    "electra": BERT,
    "roberta": Names(first=1),  # pad_token_id + 1
    "xlm-roberta": Names(first=1),
    "distilbert": Names(
        "transformer.layer", "attention.q_lin", "attention.k_lin", "attention.v_lin",
        "attention.out_lin", "ffn.lin1", "ffn.lin2", ("sa_layer_norm", "output_layer_norm"),
    ),
    "mpnet": Names(
        query="attention.attn.q", key="attention.attn.k", value="attention.attn.v",
        out="attention.attn.o", norms=("attention.LayerNorm", "output.LayerNorm"),
        first=2,  # it counts from 2, whatever its config says
    ),
    "deberta-v2": Names(
        query="attention.self.query_proj", key="attention.self.key_proj",
        value="attention.self.value_proj",
    ),
}  # fmt: skip


def widen(model: torch.nn.Module, family: str, classifier: torch.nn.Module) -> None:
    """Write the encoder of ``classifier`` into that of ``model``, of a family of ``FAMILIES``.

    classifier: a BERT, half as wide. The relative positions of ``model``, if it has any, get no
    say. Its head stays as it is.
    """
    names = FAMILIES[family]
    source = dict(classifier.bert.state_dict())
    found = model.base_model.state_dict()
    _embeddings(source, found, names.first)
    depth, real = model.config.num_hidden_layers, classifier.config.num_hidden_layers
    spreads = _spreads(classifier)
    repeat = max(1, depth // real)
    for i in range(depth):
        part = _Part(found, f"{names.layers}.{i}", names)
        if i % repeat == 0:
            part.copy(source, f"encoder.layer.{i // repeat}", family == "deberta-v2")
        else:
            part.pass_on(*spreads[i // repeat])
    for name in ("encoder.relative_attention_bias.weight", "encoder.rel_embeddings.weight"):
        if name in found:
            found[name].zero_()
    model.base_model.load_state_dict(found)


def _embeddings(source: Mapping[str, Tensor], found: dict[str, Tensor], first: int) -> None:
    """Vectors of words, positions and types. What has no types gets the first one's with words."""
    given = {
        name: _twice(source[f"embeddings.{name}_embeddings.weight"], 1)
        for name in ("word", "position", "token_type")
    }
    if "embeddings.token_type_embeddings.weight" not in found:
        given["word"] = given["word"] + given.pop("token_type")[0]
    for name, table in given.items():
        if (target := found.get(f"embeddings.{name}_embeddings.weight")) is None:
            continue
        start = first if name == "position" else 0
        rows = min(len(table), len(target) - start)
        target[start : start + rows] = table[:rows]
    for kind in ("weight", "bias"):
        name = f"embeddings.LayerNorm.{kind}"
        found[name].copy_(_twice(source[name]))


@dataclass(frozen=True)
class _Part:
    """A layer of the family: its tensors in ``found``, in place."""

    found: dict[str, Tensor]
    layer: str
    names: Names

    def _set(self, part: str, weight: Tensor, bias: Tensor) -> None:
        self.found[f"{self.layer}.{part}.weight"].copy_(weight)
        self.found[f"{self.layer}.{part}.bias"].copy_(bias)

    def copy(self, source: Mapping[str, Tensor], layer: str, relative: bool) -> None:
        """A layer of the classifier. relative: the family adds scores of relative positions."""

        def of(name: str) -> tuple[Tensor, Tensor]:
            return source[f"{layer}.{name}.weight"], source[f"{layer}.{name}.bias"]

        for part, name in ((self.names.query, BERT.query), (self.names.key, BERT.key)):
            weight, bias = of(name)
            # The doubled sum of a score is divided by the root of 64 numbers a head, not of 32;
            # with relative positions, of three times as many, as there are three scores.
            scale = ((2 * 3) ** 0.5 if relative else 2**0.5) / 2
            if relative and name == BERT.query:
                # Vectors of zeros become the query's bias, whose score with the key is added.
                bias = bias / 2
            self._set(part, scale**0.5 * _heads(_shared(weight)), scale**0.5 * _heads(bias))
        weight, bias = of(BERT.value)
        self._set(self.names.value, _heads(_shared(weight)), _heads(bias))
        weight, bias = of(BERT.out)
        self._set(self.names.out, _twice(_shared(weight, HEADS)), _twice(bias))
        for part, name in ((self.names.up, BERT.up), (self.names.down, BERT.down)):
            weight, bias = of(name)
            self._set(part, _twice(_shared(weight)), _twice(bias))
        for part, name in zip(self.names.norms, BERT.norms, strict=True):
            self._set(part, *map(_twice, of(name)))

    def pass_on(self, mean: float, spread: float) -> None:
        """Nearly the identity: normalized values get their usual mean and spread back."""
        for part in (self.names.out, self.names.down):
            weight = self.found[f"{self.layer}.{part}.weight"]
            self._set(part, torch.randn_like(weight) * NOISE, torch.zeros(len(weight)))
        for part in self.names.norms:
            self.found[f"{self.layer}.{part}.weight"].fill_(spread)
            self.found[f"{self.layer}.{part}.bias"].fill_(mean)


def _twice(values: Tensor, dim: int = 0) -> Tensor:
    return torch.cat([values, values], dim)


def _heads(values: Tensor) -> Tensor:
    """Twice the outputs of each head, side by side."""
    return _twice(values.unflatten(0, (HEADS, -1)), 1).flatten(0, 1)


def _shared(weight: Tensor, groups: int = 1) -> Tensor:
    """(outputs, inputs) → (outputs, twice the inputs): a random share of the weight for each copy.

    groups: of inputs whose copies are side by side.
    """
    weight = weight.unflatten(1, (groups, -1))
    share = 0.3 + 0.4 * torch.rand_like(weight)
    return torch.cat([weight * share, weight * (1 - share)], 2).flatten(1)


def _spreads(classifier: torch.nn.Module) -> list[tuple[float, float]]:
    """Mean and standard deviation of the numbers of a token after each layer."""
    rows = reviews.encode(reviews.splits().validation.texts[:SENTENCES])
    given = {name: torch.from_numpy(values) for name, values in batching.pad(rows).items()}
    with torch.inference_mode():
        states = classifier.bert(**given, output_hidden_states=True).hidden_states[1:]
    kept = given["attention_mask"].bool()
    return [
        (float(state[kept].mean()), float(state[kept].std(dim=1, correction=0).mean()))
        for state in states
    ]
