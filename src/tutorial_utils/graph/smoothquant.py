"""SmoothQuant: move outliers out of the activations before they are quantized to 8 bits.

In fp32 the model stays the same function. A dynamic quantizer gives the whole input of a product
one scale, so one huge value makes the steps of all others coarse. In BERT a few channels are huge,
mostly at ``[CLS]``. Two edits of the graph:

``migrate``: SmoothQuant (Xiao et al., ICML 2023). Channel j of a LayerNormalization is divided by
s_j and row j of the weights behind it multiplied: x W = (x / s)(s W). The division is folded into
the normalization's scale and shift. BERT also adds the normalized value to a later one, and that
path gets s back with one multiplication.

``keep_neurons``: behind a Gelu no scale can be folded. There the few largest neurons are computed
aside in fp32, after LLM.int8() (Dettmers et al., NeurIPS 2022), which does so with channels.
"""

import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from tutorial_utils.core import paths
from tutorial_utils.graph.rewrites import array_of, constant, is_constant, producer
from tutorial_utils.runtime.session import SessionRecipe, open_session

PRODUCTS = ("MatMul", "Attention")
ALPHA = 0.5  # share of an outlier that goes to the weights; the rest stays with the activations
NEURONS = 2  # kept aside in each layer; with 4, a run of BERT-base takes measurably longer
KEPT = "kept_in_fp32_"  # how the names of nodes begin that are not to be quantized

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Range:
    """Smallest and largest value of each channel (last axis) of a tensor, float32 (channels,)."""

    low: np.ndarray
    high: np.ndarray

    @property
    def largest(self) -> np.ndarray:
        """Largest absolute value of each channel; never 0, since it is divided by."""
        return np.maximum(np.maximum(-self.low, self.high), 1e-5)


def smooth(
    source: Path,
    target: Path,
    batches: Iterable[Inputs],
    *,
    alpha: float | None = ALPHA,
    neurons: int = NEURONS,
) -> dict[str, int]:
    """Write a fused fp32 file with smoothed activations to ``target``; return how many edits.

    batches: model inputs as ``batching.pad`` makes them, of real texts that are not tested on.
    alpha: of ``migrate``; None leaves it out. neurons: of ``keep_neurons``; 0 leaves it out.
    """
    model = ir.load(str(source))
    seen = ranges(source, batches)
    counts = {
        "LayerNormalization": 0 if alpha is None else migrate(model, seen, alpha),
        "neurons": keep_neurons(model, seen, neurons),
    }
    with paths.replacing(Path(target)) as temporary:
        onnx.save(ir.to_proto(model), str(temporary))
    return counts


def ranges(source: Path, batches: Iterable[Inputs]) -> dict[str, Range]:
    """Range of each channel of what goes into products and Gelus, over all batches, by name."""
    model = onnx.load(str(source))
    weights = {tensor.name for tensor in model.graph.initializer}
    names = dict.fromkeys(
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Gelu" or (node.op_type in PRODUCTS and node.input[1] in weights)
    )
    if not names:
        return {}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found: dict[str, Range] = {}
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, f"{folder}/model.onnx")
        session = open_session(f"{folder}/model.onnx", SessionRecipe(optimization="basic"))
        given = [value.name for value in session.get_inputs()]
        for inputs in batches:
            values = session.run(list(names), {name: inputs[name] for name in given})
            for name, value in zip(names, values, strict=True):
                axes = tuple(range(value.ndim - 1))
                low, high = value.min(axes), value.max(axes)
                if name in found:
                    low, high = np.minimum(low, found[name].low), np.maximum(high, found[name].high)
                found[name] = Range(low, high)
    return found


def migrate(
    model: ir.Model,
    seen: Mapping[str, Range],
    alpha: float = ALPHA,
    ops: Sequence[str] = ("MatMul",),
) -> int:
    """Move a share of the outliers behind each LayerNormalization to the weights; return how many.

    ops: operators that must read a normalized value for it to be changed. ``Attention`` beside
    ``MatMul`` gained nothing here, and each edit costs a multiplication.

    s_j = max |x_j| ** alpha / max |W_j| ** (1 - alpha), brought to a geometric mean of 1.
    Works in place. Where other nodes read the normalized value, they get it multiplied by s.
    """
    count = 0
    for norm in [node for node in model.graph if node.op_type == "LayerNormalization"]:
        out = norm.outputs[0]
        products = [node for node, _ in out.uses() if _is_product(node, ops)]
        foldable = [i for i, value in enumerate(norm.inputs) if i and value is not None]
        known = all(is_constant(norm.inputs[i]) for i in foldable)
        if not products or out.name not in seen or not known:
            continue
        others = [use for use in out.uses() if use[0] not in products]
        weights = [array_of(node.inputs[1]) for node in products]
        largest = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
        scale = seen[out.name or ""].largest ** alpha / np.maximum(largest, 1e-5) ** (1 - alpha)
        scale = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
        for node, weight in zip(products, weights, strict=True):
            _replace(model, node, 1, weight * scale[:, None])
        for i in foldable:
            _replace(model, norm, i, array_of(norm.inputs[i]) / scale)
        if others:
            restored = ir.node("Mul", [out, constant(model, f"{out.name}_restoring", scale)])
            model.graph.insert_after(norm, [restored])
            for node, i in others:
                node.replace_input_with(i, restored.outputs[0])
        count += 1
    return count


def keep_neurons(model: ir.Model, seen: Mapping[str, Range], most: int = NEURONS) -> int:
    """Compute the ``most`` largest neurons of each Gelu separately, in fp32; return how many.

    Works in place. Their columns of the large product become zero. Every layer keeps the same
    number, so that the time of a model does not depend on its outliers. The quantizer is to leave
    the nodes alone whose names begin with ``KEPT``; of these, none is split again.
    """
    count = 0
    taken = {node.name for node in model.graph}
    for gelu in [node for node in model.graph if node.op_type == "Gelu"] if most else []:
        layer = _feed_forward(gelu)
        if layer is None or (out := gelu.outputs[0].name or "") not in seen:
            continue
        first, add, position, second = layer
        if (first.name or "").startswith(KEPT):
            continue
        before, bias = array_of(first.inputs[1]).copy(), array_of(add.inputs[position]).copy()
        after = array_of(second.inputs[1])
        number = next(i for i in itertools.count(count // most) if f"{KEPT}{i}_first" not in taken)
        name = f"{KEPT}{number}"
        taken.add(f"{name}_first")
        chosen = np.argsort(-seen[out].largest)[:most]
        parts = {"before": before[:, chosen], "bias": bias[chosen], "after": after[chosen]}
        held = {part: constant(model, f"{name}_{part}", a) for part, a in parts.items()}
        before[:, chosen] = bias[chosen] = 0
        _replace(model, first, 1, before)
        _replace(model, add, position, bias)

        aside = [ir.node("MatMul", [first.inputs[0], held["before"]], name=f"{name}_first")]
        aside.append(ir.node("Add", [aside[-1].outputs[0], held["bias"]]))
        aside.append(ir.node("Gelu", aside[-1].outputs, domain=gelu.domain))
        aside.append(
            ir.node("MatMul", [aside[-1].outputs[0], held["after"]], name=f"{name}_second")
        )
        # After the bias: ONNX Runtime computes a product and its bias in one node.
        uses = [node for node, _ in second.outputs[0].uses()]
        last = uses[0] if len(uses) == 1 and _adds_constant(uses[0]) else second
        users = list(last.outputs[0].uses())
        total = ir.node("Add", [last.outputs[0], aside[-1].outputs[0]])
        model.graph.insert_after(last, [*aside, total])
        for node, i in users:
            node.replace_input_with(i, total.outputs[0])
        count += most
    return count


def _feed_forward(gelu: ir.Node) -> tuple[ir.Node, ir.Node, int, ir.Node] | None:
    """The product and addition before a Gelu, which input the bias is, and the product after it."""
    add = producer(gelu.inputs[0])
    uses = [node for node, _ in gelu.outputs[0].uses()]
    if add is None or add.op_type != "Add" or len(uses) != 1 or not _is_product(uses[0]):
        return None
    for position in (0, 1):
        first = producer(add.inputs[1 - position])
        if is_constant(add.inputs[position]) and first and _is_product(first):
            return first, add, position, uses[0]
    return None


def _adds_constant(node: ir.Node) -> bool:
    return node.op_type == "Add" and any(map(is_constant, node.inputs))


def _is_product(node: ir.Node, ops: Sequence[str] = PRODUCTS) -> bool:
    return node.op_type in ops and is_constant(node.inputs[1])


def _replace(model: ir.Model, node: ir.Node, position: int, array: np.ndarray) -> None:
    """Give a node a constant of its own in the place of one that others may read too."""
    old = node.inputs[position]
    name = f"{node.outputs[0].name}_smooth_{position}"
    value = constant(model, name, np.ascontiguousarray(array))
    node.replace_input_with(position, value)
    if old is not None and old.name and not old.uses():
        model.graph.initializers.pop(old.name, None)
