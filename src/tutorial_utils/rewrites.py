"""Graph edits, each of them small: one pattern of nodes becomes another that computes the same.

All work in place on an ``onnx_ir.Model`` and return how often they applied. ``fusion`` chooses
among them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from onnxscript.optimizer import fold_constants

ORT_DOMAIN = "com.microsoft"
_ATTENTION_MASK, _ATTENTION_BIAS = 3, 5  # positions among the Attention operator's inputs
_MHA_MASK, _MHA_BIAS = 4, 5  # … and among MultiHeadAttention's

Edit = tuple[Sequence[ir.Node], dict[int, ir.Value]]  # nodes, and what stands for which output


def fold_weights(model: ir.Model) -> None:
    """Compute what depends on weights alone now, however large: packed QKV weights above all."""
    fold_constants(model, input_size_limit=2**31, output_size_limit=2**31)


def use_mask_index(model: ir.Model) -> int:
    """Give every Attention node the int32 padding mask instead of a bias."""
    nodes = _nodes(model, "Attention")
    if nodes:
        mask = _as_int32(model, "attention_mask")
        for node in nodes:
            node.attributes.pop("qkv_hidden_sizes", None)  # equal sizes: the default says the same
            node.replace_input_with(_ATTENTION_BIAS, None)
            node.replace_input_with(_ATTENTION_MASK, mask)
            node.resize_inputs(_ATTENTION_BIAS - 1)
    return len(nodes)


def use_padding_mask(model: ir.Model) -> int:
    """Give every MultiHeadAttention node the int32 padding mask instead of a bias."""
    nodes = _nodes(model, "MultiHeadAttention")
    if nodes:
        mask = _as_int32(model, "attention_mask")
        for node in nodes:
            node.replace_input_with(_MHA_MASK, mask)
            node.replace_input_with(_MHA_BIAS, None)
            node.resize_inputs(_MHA_BIAS)
    return len(nodes)


def pack_projections(model: ir.Model) -> int:
    """Before each MultiHeadAttention: one product for queries, keys and values in place of three.

    Weights and biases must be constants: call ``fold_weights`` first.
    """
    nodes = _nodes(model, "MultiHeadAttention")
    for i, node in enumerate(nodes):
        adds = [value.producer() for value in node.inputs[:3]]
        biases, products = zip(*(_bias_and_rest(add) for add in adds), strict=True)
        weights = [product.producer().inputs[1] for product in products]
        weight = constant(model, f"qkv_weight_{i}", np.concatenate(_arrays(weights), axis=1))
        bias = constant(model, f"qkv_bias_{i}", np.concatenate(_arrays(biases)))
        product = ir.node("MatMul", [products[0].producer().inputs[0], weight])
        add = ir.node("Add", [product.outputs[0], bias])
        split = ir.node("Split", add.outputs, {"axis": -1, "num_outputs": 3}, num_outputs=3)
        model.graph.insert_before(node, [product, add, split])
        for position, value in enumerate(split.outputs):
            node.replace_input_with(position, value)
    return len(nodes)


def fuse_embeddings(model: ir.Model) -> int:
    """Three looked-up tables, their sum and its normalization become EmbedLayerNormalization."""
    norm = next(iter(_nodes(model, "LayerNormalization")), None)
    tables = _tables(norm.inputs[0]) if norm else {}
    inputs = {value.name for value in model.graph.inputs}
    if set(tables) != {"word", "type", "position"} or "token_type_ids" not in inputs:
        return 0
    ids, types = _as_int32(model, "input_ids"), _as_int32(model, "token_type_ids")
    given = [ids, types, tables["word"], tables["position"], tables["type"], *norm.inputs[1:3]]
    epsilon = norm.attributes["epsilon"].as_float()
    fused = ir.node(
        "EmbedLayerNormalization", given, {"epsilon": epsilon}, domain=ORT_DOMAIN, num_outputs=2
    )
    replace(model, norm, ([fused], {0: fused.outputs[0]}))
    return 1


def approximate_gelu(model: ir.Model) -> int:
    """Gelu by a tanh instead of the error function; differs from it by up to about 0.0005."""

    def fast(node: ir.Node) -> Edit:
        made = ir.node("FastGelu", node.inputs, domain=ORT_DOMAIN)
        return [made], {0: made.outputs[0]}

    return _each(model, "Gelu", fast)


def split_skip_layer_norm(model: ir.Model) -> int:
    """SkipLayerNormalization becomes Add and LayerNormalization."""

    def split(node: ir.Node) -> Edit:
        given, skip, scale, shift, *rest = node.inputs
        nodes = []
        if rest and rest[0] is not None:
            nodes.append(ir.node("Add", [given, rest[0]]))
            given = nodes[-1].outputs[0]
        nodes.append(ir.node("Add", [given, skip]))
        total = nodes[-1].outputs[0]
        settings = {"axis": -1, "epsilon": node.attributes["epsilon"].as_float()}
        nodes.append(ir.node("LayerNormalization", [total, scale, shift], settings))
        return nodes, {0: nodes[-1].outputs[0], 3: total}

    return _each(model, "SkipLayerNormalization", split)


def split_bias_gelu(model: ir.Model) -> int:
    """BiasGelu becomes Add and Gelu."""

    def split(node: ir.Node) -> Edit:
        add = ir.node("Add", node.inputs)
        gelu = ir.node("Gelu", [add.outputs[0]], domain=ORT_DOMAIN)
        return [add, gelu], {0: gelu.outputs[0]}

    return _each(model, "BiasGelu", split)


def split_layer_norm(model: ir.Model) -> int:
    """LayerNormalization over the last axis becomes the nine operators of its formula."""

    def split(node: ir.Node) -> Edit:
        given, scale, shift = node.inputs
        settings = node.attributes
        axes = constant(model, "last_axis", np.array([-1]))
        epsilon = np.float32(settings["epsilon"].as_float() if "epsilon" in settings else 1e-5)
        smallest = constant(model, f"epsilon_{epsilon:g}", epsilon)
        mean = ir.node("ReduceMean", [given, axes])
        centred = ir.node("Sub", [given, mean.outputs[0]])
        squared = ir.node("Mul", [centred.outputs[0], centred.outputs[0]])
        variance = ir.node("ReduceMean", [squared.outputs[0], axes])
        above_zero = ir.node("Add", [variance.outputs[0], smallest])
        deviation = ir.node("Sqrt", above_zero.outputs)
        normal = ir.node("Div", [centred.outputs[0], deviation.outputs[0]])
        scaled = ir.node("Mul", [normal.outputs[0], scale])
        shifted = ir.node("Add", [scaled.outputs[0], shift])
        nodes = [mean, centred, squared, variance, above_zero, deviation, normal, scaled, shifted]
        return nodes, {0: shifted.outputs[0]}

    return _each(model, "LayerNormalization", split)


def replace(model: ir.Model, node: ir.Node, made: Edit) -> None:
    """Put new nodes in the place of one, each of its outputs taken over by the value named."""
    nodes, outputs = made
    model.graph.insert_before(node, nodes)
    for i, value in outputs.items():
        if i < len(node.outputs):
            node.outputs[i].replace_all_uses_with(value, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)


def _each(model: ir.Model, op: str, edit: Callable[[ir.Node], Edit]) -> int:
    nodes = _nodes(model, op)
    for node in nodes:
        replace(model, node, edit(node))
    return len(nodes)


def _nodes(model: ir.Model, op: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == op]


def _as_int32(model: ir.Model, name: str) -> ir.Value:
    given = next(value for value in model.graph.inputs if value.name == name)
    cast = ir.node("Cast", [given], {"to": ir.DataType.INT32})
    cast.outputs[0].name = f"{name}_int32"
    model.graph.insert_before(model.graph[0], cast)
    return cast.outputs[0]


def constant(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    """The initializer of that name, made from ``array`` where there is none yet."""
    if name not in model.graph.initializers:
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        model.graph.register_initializer(value)
    return model.graph.initializers[name]


def _arrays(values: Sequence[ir.Value]) -> list[np.ndarray]:
    return [ir.convenience.get_const_tensor(value).numpy() for value in values]


def _bias_and_rest(add: ir.Node) -> tuple[ir.Value, ir.Value]:
    first, second = add.inputs
    constant = ir.convenience.get_const_tensor(first) is not None
    return (first, second) if constant else (second, first)


def _tables(total: ir.Value) -> dict[str, ir.Value]:
    """The embedding tables whose rows are summed to ``total``, by what looks them up."""
    found, values = {}, [total]
    while values:
        node = values.pop().producer()
        if node is None:
            return {}
        if node.op_type == "Add":
            values += node.inputs
        elif node.op_type == "Gather":
            table, index = node.inputs
            asked = {"input_ids": "word", "token_type_ids": "type"}
            found[asked.get(index.name, "position")] = table
        else:
            return {}
    return found
