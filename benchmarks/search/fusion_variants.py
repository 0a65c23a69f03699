"""The sets of fusions that the search compares, and the graph edits that only it needs.

Each fusion alone, and all except one: a fusion may pay only with another, or only without it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tutorial_utils.graph import rewrites
from tutorial_utils.graph.fusion import ALL, Fusions, fuse_chosen
from tutorial_utils.graph.last_layer import read_one_position
from tutorial_utils.graph.rewrites import array_of, constant, is_constant, producer

PAYING = Fusions("attention", "gelu")
DEFAULT_EPSILON = 1e-5  # of LayerNormalization nodes without this attribute
_MHA_MASK, _MHA_BIAS = 4, 5  # positions among the inputs of MultiHeadAttention


def pack_projections(model: ir.Model) -> int:
    """Before each MultiHeadAttention, use one product for queries, keys and values, not three.

    Weights and biases must be constants. Other nodes stay as they are.
    """
    count = 0
    for node in rewrites.nodes(model, "MultiHeadAttention"):
        projections = [found for value in node.inputs[:3] if (found := _projection(value))]
        if len(projections) != 3 or len({given for given, *_ in projections}) != 1:
            continue
        (given, *_), weights, biases = zip(*projections, strict=True)
        joined = (np.concatenate([array_of(v) for v in parts], -1) for parts in (weights, biases))
        weight, bias = (
            constant(model, f"qkv_{kind}_{count}", array)
            for kind, array in zip(("weight", "bias"), joined, strict=True)
        )
        tape = Tape()
        total = tape.op("Add", [tape.op("MatMul", [given, weight]), bias])
        parts = tape.op_multi_out("Split", [total], {"axis": -1, "num_outputs": 3}, num_outputs=3)
        model.graph.insert_before(node, tape.nodes)
        for position, value in enumerate(parts):
            node.replace_input_with(position, value)
        count += 1
    return count


def use_padding_mask(model: ir.Model) -> int:
    """Give every MultiHeadAttention node with an attention bias the int32 padding mask instead."""
    return rewrites.mask_for_bias(model, "MultiHeadAttention", _MHA_MASK, _MHA_BIAS)


def pack(model: ir.Model) -> None:
    """Apply both edits of MultiHeadAttention."""
    pack_projections(model)
    use_padding_mask(model)


def fuse_embeddings(model: ir.Model) -> int:
    """Three looked-up tables, their sum and its normalization become EmbedLayerNormalization."""
    norms = rewrites.nodes(model, "LayerNormalization")
    tables = _tables(norms[0].inputs[0]) if norms else {}
    inputs = {value.name for value in model.graph.inputs}
    if set(tables) != {"word", "type", "position"} or "token_type_ids" not in inputs:
        return 0
    ids, types = rewrites.as_int32(model, "input_ids"), rewrites.as_int32(model, "token_type_ids")
    given = [ids, types, tables["word"], tables["position"], tables["type"], *norms[0].inputs[1:3]]
    epsilon = {"epsilon": norms[0].attributes["epsilon"].as_float()}
    tape = Tape()
    tape.op_multi_out(
        "EmbedLayerNormalization", given, epsilon, domain=rewrites.ORT_DOMAIN, num_outputs=2
    )
    rewrites.replace(model, norms[0], tape)
    return 1


def approximate_gelu(model: ir.Model) -> int:
    """Gelu with tanh instead of the error function; differs by up to about 0.0005."""

    def fast(node: ir.Node, tape: Tape) -> None:
        tape.op("FastGelu", node.inputs, domain=rewrites.ORT_DOMAIN)

    return rewrites.replace_each(model, "Gelu", fast)


def split_layer_norm(model: ir.Model) -> int:
    """Replace LayerNormalization over the last axis by the nine operators of its formula."""

    def split(node: ir.Node, tape: Tape) -> None:
        given, scale, shift = node.inputs
        axes = constant(model, "last_axis", np.array([-1]))
        epsilon = node.attributes.get_float("epsilon", DEFAULT_EPSILON)
        smallest = constant(model, f"epsilon_{epsilon:g}", np.array(epsilon, np.float32))
        centred = tape.op("Sub", [given, tape.op("ReduceMean", [given, axes])])
        variance = tape.op("ReduceMean", [tape.op("Mul", [centred, centred]), axes])
        deviation = tape.op("Sqrt", [tape.op("Add", [variance, smallest])])
        normal = tape.op("Div", [centred, deviation])
        tape.op("Add", [tape.op("Mul", [normal, scale]), shift])

    return rewrites.replace_each(model, "LayerNormalization", split)


SEARCHED: dict[str, tuple[Fusions, Callable[[ir.Model], object] | None]] = {
    "none": (Fusions(), None),
    "LayerNormalization taken apart": (Fusions(), split_layer_norm),
    "only SkipLayerNormalization": (Fusions(skip_layer_norm=True), None),
    "only EmbedLayerNormalization": (Fusions(), fuse_embeddings),
    "only Gelu": (Fusions(gelu="gelu"), None),
    "only FastGelu (approximate)": (Fusions(gelu="gelu"), approximate_gelu),
    "only BiasGelu": (Fusions(gelu="bias"), None),
    "only MultiHeadAttention": (Fusions("multi-head"), use_padding_mask),
    "only packed QKV": (Fusions("multi-head"), pack),
    "only Attention": (Fusions("attention"), None),
    "all": (ALL, fuse_embeddings),
    "all but Attention": (replace(ALL, attention="none"), fuse_embeddings),
    "all but SkipLayerNormalization": (replace(ALL, skip_layer_norm=False), fuse_embeddings),
    "all but EmbedLayerNormalization": (ALL, None),
    "all but BiasGelu": (replace(ALL, gelu="none"), fuse_embeddings),
    "all, Gelu for BiasGelu": (replace(ALL, gelu="gelu"), fuse_embeddings),
    "Attention and Gelu": (PAYING, None),
    "Attention, Gelu, one position": (PAYING, read_one_position),
    "packed QKV and Gelu": (replace(PAYING, attention="multi-head"), pack),
}


def write(source: Path, target: Path, name: str) -> Path:
    """Write ``source`` with the named set of fusions to ``target``; return ``target``."""
    fusions, edit = SEARCHED[name]
    fuse_chosen(source, target, fusions)
    if edit is not None:
        model = ir.load(str(target))
        edit(model)
        rewrites.save(model, target)
    return target


def build(source: Path, folder: Path) -> dict[str, Path]:
    """A file for each set of fusions, by name. All compute (nearly) the same function.

    Disable ``fusion.AT_LOAD`` in the sessions, or ONNX Runtime adds missing fusions at load.
    """
    return {
        name: write(source, folder / f"variant_{i}.onnx", name) for i, name in enumerate(SEARCHED)
    }


def _projection(
    value: ir.Value | None,
) -> tuple[ir.Value | None, ir.Value | None, ir.Value | None] | None:
    """(x, weight, bias) if ``value`` is x @ weight + bias with constants, else None."""
    add = producer(value)
    if add is None or add.op_type != "Add":
        return None
    first, second = add.inputs
    bias, rest = (first, second) if is_constant(first) else (second, first)
    product = producer(rest)
    if not is_constant(bias) or product is None or product.op_type != "MatMul":
        return None
    given, weight = product.inputs
    return (given, weight, bias) if is_constant(weight) else None


def _tables(total: ir.Value | None) -> dict[str, ir.Value | None]:
    """The embedding tables whose rows are summed to ``total``, by the ids that look them up."""
    found: dict[str, ir.Value | None] = {}
    values = [total]
    while values:
        node = producer(values.pop())
        if node is not None and node.op_type == "Add":
            values += node.inputs
        elif node is not None and node.op_type == "Gather":
            table, index = node.inputs
            names = {"input_ids": "word", "token_type_ids": "type"}
            name = names.get((index and index.name) or "", "position")
            if name in found:
                return {}
            found[name] = table
        else:
            return {}
    return found
