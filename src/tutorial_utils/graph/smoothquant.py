"""SmoothQuant: move outliers out of the activations before they are quantized to 8 bits.

In fp32 the model stays the same function. A dynamic quantizer gives the whole input of a product
one scale, so one huge value makes the steps of all others coarse. In BERT a few channels are huge,
mostly at ``[CLS]``. Two edits of the graph:

``migrate``: SmoothQuant (Xiao et al., ICML 2023). Channel j of a LayerNormalization is divided by
s_j and row j of the weights after it multiplied: x W = (x / s)(s W). The division is folded into
the normalization's scale and shift. BERT also adds the normalized value to a later one, and that
path gets s back with one multiplication.

``keep_neurons``: after a Gelu no scale can be folded. There the few largest neurons are computed
separately in fp32, after LLM.int8() (Dettmers et al., NeurIPS 2022), which does so with channels.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tutorial_utils.graph import inspection, storage
from tutorial_utils.graph.rewrites import array_of, constant, is_constant, nodes, producer, save

PRODUCTS = ("MatMul", "Attention")
ALPHA = 0.5  # share of an outlier that goes to the weights; the rest stays with the activations
SMALLEST = 1e-5  # what a range counts as at least, since it is divided by
NEURONS = 2  # kept in fp32 in each layer; with 4, a run of BERT-base takes measurably longer
KEPT = "kept_in_fp32_"  # prefix of the names of nodes that are not to be quantized

Inputs = dict[str, np.ndarray]


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
    model = storage.load(source)
    largest = alike(model, ranges(source, batches))
    counts = {
        "LayerNormalization": 0 if alpha is None else migrate(model, largest, alpha),
        "neurons": keep_neurons(model, largest, neurons),
    }
    save(model, target)
    return counts


def ranges(source: Path, batches: Iterable[Inputs]) -> dict[str, np.ndarray]:
    """Largest absolute value of each channel of what goes into products and Gelus, by name.

    Float32 (channels,), over all batches; never 0, since it is divided by.
    """
    graph = inspection.load_structure(source).graph
    weights = {tensor.name for tensor in graph.initializer}
    names = dict.fromkeys(
        node.input[0]
        for node in graph.node
        if node.op_type == "Gelu" or (node.op_type in PRODUCTS and node.input[1] in weights)
    )
    found: dict[str, np.ndarray] = {}
    for tensors in inspection.tensors(source, list(names), batches) if names else ():
        for name, value in tensors.items():
            largest = np.abs(value).max(tuple(range(value.ndim - 1)))
            found[name] = np.maximum(largest, found.get(name, SMALLEST))
    return found


def migrate(model: ir.Model, largest: Mapping[str, np.ndarray], alpha: float = ALPHA) -> int:
    """Move a share of the outliers after each LayerNormalization to the weights; return how many.

    largest: as ``ranges`` returns it. Only normalized values that a MatMul reads are changed: to
    change those of ``Attention`` as well gained nothing, and each edit costs a multiplication.

    Works in place. Where other nodes read the normalized value, they get it multiplied by s.
    """
    count = 0
    for norm in nodes(model, "LayerNormalization"):
        out = norm.outputs[0]
        products = [n for n in out.consumers() if n.op_type == "MatMul" and _is_product(n)]
        foldable = [i for i, value in enumerate(norm.inputs) if i and value is not None]
        known = all(is_constant(norm.inputs[i]) for i in foldable)
        if not products or out.name is None or out.name not in largest or not known:
            continue
        others = [use for use in out.uses() if use[0] not in products]
        weights = [array_of(node.inputs[1]) for node in products]
        scale = scales(largest[out.name], weights, alpha)
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


def scales(largest: np.ndarray, weights: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """What to divide each channel by, float32 (channels,).

    s_j = max |x_j| ** alpha / max |W_j| ** (1 - alpha), brought to a geometric mean of 1.
    largest: max |x_j|. weights: the matrices that x is multiplied by, each (channels, columns).
    """
    of_weights = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    scale = largest**alpha / np.maximum(of_weights, SMALLEST) ** (1 - alpha)
    return (scale / np.exp(np.log(scale).mean())).astype(np.float32)


def keep_neurons(model: ir.Model, largest: Mapping[str, np.ndarray], most: int = NEURONS) -> int:
    """Compute the ``most`` largest neurons of each Gelu separately, in fp32; return how many.

    Works in place. Their columns of the large product become zero. Every layer keeps the same
    number, so that the time of a model does not depend on its outliers. The quantizer must leave
    the nodes alone whose names begin with ``KEPT``; none of these is split again.
    """
    count = 0
    before_us = sum((node.name or "").startswith(KEPT) for node in model.graph) // 2
    for gelu in nodes(model, "Gelu") if most else []:
        layer = _feed_forward(gelu)
        if layer is None or (out := gelu.outputs[0].name or "") not in largest:
            continue
        first, add, position, second = layer
        if (first.name or "").startswith(KEPT):
            continue
        before, bias = array_of(first.inputs[1]).copy(), array_of(add.inputs[position]).copy()
        after = array_of(second.inputs[1])
        name = f"{KEPT}{before_us + count // most}"  # each is the name of two nodes
        chosen = np.argsort(-largest[out])[:most]
        parts = {"before": before[:, chosen], "bias": bias[chosen], "after": after[chosen]}
        held = {part: constant(model, f"{name}_{part}", a) for part, a in parts.items()}
        before[:, chosen] = bias[chosen] = 0
        _replace(model, first, 1, before)
        _replace(model, add, position, bias)

        # After the bias: ONNX Runtime computes a product and its bias in one node.
        readers = second.outputs[0].consumers()
        last = readers[0] if len(readers) == 1 and _adds_constant(readers[0]) else second
        users = list(last.outputs[0].uses())
        tape = Tape()
        wide = tape.op("MatMul", [first.inputs[0], held["before"]], name=f"{name}_first")
        active = tape.op("Gelu", [tape.op("Add", [wide, held["bias"]])], domain=gelu.domain)
        narrow = tape.op("MatMul", [active, held["after"]], name=f"{name}_second")
        total = tape.op("Add", [last.outputs[0], narrow])
        model.graph.insert_after(last, tape.nodes)
        for node, i in users:
            node.replace_input_with(i, total)
        count += most
    return count


def alike(model: ir.Model, largest: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The ranges, equal for all values that are multiplied by the same weights.

    Layers that share weights (ALBERT) are then changed alike, and still share them.
    """
    groups: dict[frozenset[ir.Value | None], list[str]] = {}
    for value in (value for node in model.graph for value in node.outputs):
        if value.name and value.name in largest:
            weights = frozenset(n.inputs[1] for n in value.consumers() if _is_product(n))
            groups.setdefault(weights, []).append(value.name)
    return {
        name: np.max([largest[other] for other in names], axis=0)
        for weights, names in groups.items()
        for name in names
        if weights
    }


def _feed_forward(gelu: ir.Node) -> tuple[ir.Node, ir.Node, int, ir.Node] | None:
    """The product and addition before a Gelu, which input the bias is, and the product after it."""
    add = producer(gelu.inputs[0])
    readers = gelu.outputs[0].consumers()
    if add is None or add.op_type != "Add" or len(readers) != 1 or not _is_product(readers[0]):
        return None
    for position in (0, 1):
        first = producer(add.inputs[1 - position])
        if is_constant(add.inputs[position]) and first and _is_product(first):
            return first, add, position, readers[0]
    return None


def _adds_constant(node: ir.Node) -> bool:
    return node.op_type == "Add" and any(map(is_constant, node.inputs))


def _is_product(node: ir.Node) -> bool:
    return node.op_type in PRODUCTS and is_constant(node.inputs[1])


def _replace(model: ir.Model, node: ir.Node, position: int, array: np.ndarray) -> None:
    """Give a node a constant of its own in the place of one that others may read too."""
    name = f"{node.outputs[0].name}_smooth_{position}"
    node.replace_input_with(position, constant(model, name, np.ascontiguousarray(array)))
